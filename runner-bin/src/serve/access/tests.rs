//! Who is let in, by what they show.

use std::fs;

use http::HeaderValue;
use vmpool_core::PoolName;

use super::*;

const CALLERS: &str = "\
callers:
- name: all
  tokens: [token-of-all-pools]
- name: linux
  tokens: [token-of-linux-only]
  pools: [linux]
- name: listed
  certificate: listed.example.com
  pools: [linux]
- name: slow
  tokens: [token-of-a-slow-one]
  requests_per_second: 1
";

fn headers(authorization: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(value) = authorization {
        headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn peer(address: &str, certificate: Option<&str>) -> Peer {
    Peer {
        address: Some(address.parse().unwrap()),
        certificate: certificate.map(Arc::from),
    }
}

fn with_callers(text: &str) -> (Access, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("callers.yml");
    fs::write(&path, text).unwrap();
    let args = AccessArgs {
        tokens: Some(path),
        ..AccessArgs::default()
    };
    (Access::load(&args).unwrap(), folder)
}

#[test]
fn who_shows_a_token_or_a_certificate_gets_in_by_its_name() {
    let (access, _folder) = with_callers(CALLERS);
    let linux = PoolName::new("linux");
    for (shown, certificate, expected) in [
        (None, None, Err(NotAdmitted::Nameless)),
        (
            Some("Bearer token-of-all-pools"),
            None,
            Ok((Some("all"), true)),
        ),
        (
            Some("bearer  token-of-all-pools"),
            None,
            Ok((Some("all"), true)),
        ),
        (
            Some("Bearer token-of-linux-only"),
            None,
            Ok((Some("linux"), false)),
        ),
        (
            Some("Bearer token-of-nobody-here"),
            None,
            Err(NotAdmitted::UnknownToken),
        ),
        (Some("Bearer "), None, Err(NotAdmitted::NoBearer)),
        (Some("Basic dG9rZW4="), None, Err(NotAdmitted::NoBearer)),
        (
            None,
            Some("listed.example.com"),
            Ok((Some("listed"), false)),
        ),
        (
            None,
            Some("other.example.com"),
            Ok((Some("other.example.com"), true)),
        ),
        // A wrong token is not made good by a certificate.
        (
            Some("Bearer token-of-nobody-here"),
            Some("other"),
            Err(NotAdmitted::UnknownToken),
        ),
    ] {
        let admitted = access.admit(&peer("127.0.0.1", certificate), "/setup", &headers(shown));
        let told = format!("{shown:?} {certificate:?}: {admitted:?}");
        match (admitted, expected) {
            (Ok(caller), Ok((name, all))) => {
                assert_eq!(
                    (caller.name(), caller.is_unrestricted()),
                    (name, all),
                    "{told}"
                );
                caller.may_use(&linux).expect(&told);
            }
            (Err(refused), Err(expected)) => assert_eq!(refused, expected, "{told}"),
            _ => panic!("{told}"),
        }
    }
}

#[test]
fn probes_need_no_token_and_may_nothing_else() {
    let (access, _folder) = with_callers(CALLERS);
    let probe = peer("10.0.0.1", None);
    for path in FOR_ALL {
        let caller = access.admit(&probe, path, &headers(None)).expect(path);
        caller.may_use(&PoolName::new("linux")).unwrap_err();
    }
    for path in ["/metrics", "/setup", "/healthz/", "/"] {
        access.admit(&probe, path, &headers(None)).unwrap_err();
    }
}

#[test]
fn who_asks_too_often_is_refused_until_it_is_time_and_this_host_is_not_counted() {
    let (access, _folder) = with_callers(CALLERS);
    let here = peer("127.0.0.1", None);
    let slow = headers(Some("Bearer token-of-a-slow-one"));
    let too_soon = (0..20)
        .filter(|_| access.admit(&here, "/setup", &slow).err() == Some(NotAdmitted::TooSoon));
    assert!(too_soon.count() > 0);

    let args = AccessArgs {
        max_requests_per_second: std::num::NonZeroU32::MIN,
        ..AccessArgs::default()
    };
    let open = Access::load(&args).unwrap();
    let refused = |address: &str| {
        let from = peer(address, None);
        let asked = (0..20).map(|_| open.admit(&from, "/setup", &headers(None)));
        asked.filter(Result::is_err).count()
    };
    assert_eq!(refused("127.0.0.1"), 0);
    assert!(refused("10.0.0.1") > 0);
}

#[test]
fn a_file_that_can_not_be_used_leaves_the_one_before_in_force() {
    let (access, folder) = with_callers(CALLERS);
    let path = folder.path().join("callers.yml");
    let here = peer("127.0.0.1", None);
    let shown = headers(Some("Bearer token-of-all-pools"));
    let new = headers(Some("Bearer token-that-is-new"));
    fs::write(&path, "callers: [").unwrap();
    access.reload();
    access.admit(&here, "/setup", &shown).unwrap();
    fs::remove_file(&path).unwrap();
    access.reload();
    access.admit(&here, "/setup", &shown).unwrap();
    fs::write(
        &path,
        "callers:\n- name: new\n  tokens: [token-that-is-new]\n",
    )
    .unwrap();
    access.reload();
    access.admit(&here, "/setup", &shown).unwrap_err();
    assert_eq!(
        access.admit(&here, "/setup", &new).unwrap().name(),
        Some("new")
    );
    assert!(!format!("{access:?}").contains("token-that-is-new"), "P11");
}
