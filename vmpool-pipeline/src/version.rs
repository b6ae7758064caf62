//! Tags as versions: `DRONE_SEMVER_*` and `DRONE_CALVER_*`.

use crate::substitute::Variables;

/// Adds what `tag` says as a semantic version, or that it is none.
pub(crate) fn add_semver(tag: &str, variables: &mut Variables) {
    let mut set = |name: &str, value: &str| {
        variables.insert(format!("DRONE_SEMVER{name}"), value.to_owned());
    };
    let version = tag.strip_prefix('v').unwrap_or(tag);
    let (rest, build) = version.split_once('+').unwrap_or((version, ""));
    let (short, prerelease) = rest.split_once('-').unwrap_or((rest, ""));
    let numbers: Vec<&str> = short.split('.').collect();
    match numbers[..] {
        [major, minor, patch] if numbers.iter().all(|number| is_number(number)) => {
            set("", version);
            set("_SHORT", short);
            set("_MAJOR", major);
            set("_MINOR", minor);
            set("_PATCH", patch);
            set("_PRERELEASE", prerelease);
            set("_BUILD", build);
        }
        _ => set("_ERROR", &format!("{tag} is not in dotted-tri format")),
    }
}

/// Adds what `tag` says as a calendar version, if it is one: it begins with a
/// year of two or four digits and a month.
pub(crate) fn add_calver(tag: &str, variables: &mut Variables) {
    let version = tag.strip_prefix('v').unwrap_or(tag);
    let (short, modifier) = version.split_once('-').unwrap_or((version, ""));
    let numbers: Vec<&str> = short.split('.').collect();
    let (major, minor, micro) = match numbers[..] {
        [major, minor] => (major, minor, ""),
        [major, minor, micro] => (major, minor, micro),
        _ => return,
    };
    let is_year = matches!(major.len(), 2) || major.len() == 4 && major.starts_with("20");
    let is_month = minor.len() <= 2 && minor.parse().is_ok_and(|month| (1..=12).contains(&month));
    if !is_year || !is_month || !numbers.iter().all(|number| is_number(number)) {
        return;
    }
    for (name, value) in [
        ("", version),
        ("_SHORT", short),
        ("_MAJOR_MINOR", &format!("{major}.{minor}")),
        ("_MAJOR", major),
        ("_MINOR", minor),
        ("_MICRO", micro),
        ("_MODIFIER", modifier),
    ] {
        variables.insert(format!("DRONE_CALVER{name}"), value.to_owned());
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tag: &str) -> String {
        let mut variables = Variables::new();
        add_semver(tag, &mut variables);
        add_calver(tag, &mut variables);
        let all: Vec<_> = variables
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        all.join(" ").replace("DRONE_", "")
    }

    #[test]
    fn a_tag_is_a_version_where_it_looks_like_one() {
        insta::assert_snapshot!(of("v1.2.3"), @"SEMVER=1.2.3 SEMVER_BUILD= SEMVER_MAJOR=1 SEMVER_MINOR=2 SEMVER_PATCH=3 SEMVER_PRERELEASE= SEMVER_SHORT=1.2.3");
        insta::assert_snapshot!(of("1.2.3-rc.1+5"), @"SEMVER=1.2.3-rc.1+5 SEMVER_BUILD=5 SEMVER_MAJOR=1 SEMVER_MINOR=2 SEMVER_PATCH=3 SEMVER_PRERELEASE=rc.1 SEMVER_SHORT=1.2.3");
        insta::assert_snapshot!(of("19.1.0-beta.20190318"), @"CALVER=19.1.0-beta.20190318 CALVER_MAJOR=19 CALVER_MAJOR_MINOR=19.1 CALVER_MICRO=0 CALVER_MINOR=1 CALVER_MODIFIER=beta.20190318 CALVER_SHORT=19.1.0 SEMVER=19.1.0-beta.20190318 SEMVER_BUILD= SEMVER_MAJOR=19 SEMVER_MINOR=1 SEMVER_PATCH=0 SEMVER_PRERELEASE=beta.20190318 SEMVER_SHORT=19.1.0");
        insta::assert_snapshot!(of("2024.11"), @"CALVER=2024.11 CALVER_MAJOR=2024 CALVER_MAJOR_MINOR=2024.11 CALVER_MICRO= CALVER_MINOR=11 CALVER_MODIFIER= CALVER_SHORT=2024.11 SEMVER_ERROR=2024.11 is not in dotted-tri format");
        insta::assert_snapshot!(of("latest"), @"SEMVER_ERROR=latest is not in dotted-tri format");
        insta::assert_snapshot!(of("1.2.3.4"), @"SEMVER_ERROR=1.2.3.4 is not in dotted-tri format");
    }
}
