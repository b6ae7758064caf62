//! Start-up templates of the operator's own.

use std::error::Error;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lite_engine::supervisor::Request;
use vmpool_aws::user_data::template::{BornWith, TemplateError};
use vmpool_aws::user_data::{Secrets, UserTemplate};
use vmpool_core::agent::{Bootstrap, Clocks};
use vmpool_core::{Secret, SecretBytes};

#[expect(
    clippy::unnecessary_wraps,
    reason = "where keys are made, that may fail"
)]
fn births(_: &Bootstrap) -> Result<BornWith, Box<dyn Error + Send + Sync>> {
    Ok(BornWith {
        ca_pem: "a CA\n".to_owned(),
        cert_pem: "a certificate\n".to_owned(),
        key_pem: Secret::new("a key\n"),
    })
}

fn new(source: &str) -> Result<UserTemplate, TemplateError> {
    let variables = serde_json::json!({
        "LiteEnginePath": "http://agents/",
        "Architecture": "amd64",
        "Platform": {"OS": "linux", "Arch": "amd64"},
        "Tmate": {"Enabled": false},
    });
    let serde_json::Value::Object(variables) = variables else {
        unreachable!("it is an object");
    };
    UserTemplate::new(source, variables, Clocks::default(), births)
}

fn example(source: &str, secrets: Secrets) -> String {
    let template = new(source).expect("a template");
    template.example(secrets).expect("filled in")
}

fn refused(source: &str) -> String {
    new(source).expect_err("no template").to_string()
}

#[test]
fn a_line_of_json_has_what_a_machine_is_born_with_and_hides_its_key_where_it_is_shown() {
    let line = r#"{"CACert": "{{ .CACert | base64 }}", "TLSCert": "{{ .TLSCert | trim }}", "TLSKey": "{{ .TLSKey | base64 }}"}"#;
    let whole = r#"{"CACert": "YSBDQQo=", "TLSCert": "a certificate", "TLSKey": "YSBrZXkK"}"#;
    assert_eq!(example(line, Secrets::Shown), whole);
    let hidden = whole.replace("YSBrZXkK", "<secret>");
    assert_eq!(example(line, Secrets::Hidden), hidden, "P11");
    assert!(new(line).expect("a template").is_incumbents());
}

#[test]
fn what_go_has_works_as_in_go() {
    let source = "{{- $key := .TLSKey | base64 -}}\n\
        {{ if and (eq .Platform.OS \"linux\") (not .Tmate.Enabled) }}{{ $.Architecture }}\
        {{ else if .Tmate.Enabled }}tmate{{ else }}no{{ end }}\
        {{/* nothing */}} {{ with .LiteEnginePath }}{{ . }}{{ printf \"%s-%s\" \"a\" $.Platform.Arch }}{{ end }}\
        {{ define \"part\" }}[{{ .Architecture }}]{{ end }}{{ template \"part\" . }} {{ $key }}";
    let filled_in = "amd64 http://agents/a-amd64[amd64] YSBrZXkK";
    assert_eq!(example(source, Secrets::Shown), filled_in);
    let platform = example(
        "{{ .Platform }}-{{ .Architecture }} {{ .TLSKey | trim }}",
        Secrets::Shown,
    );
    assert_eq!(platform, "linux-amd64 a key", "as earlier versions had it");
}

#[test]
fn p12_a_template_of_our_agent_is_given_its_request_and_no_key() {
    let template = new("{{ .Request | base64 }}").expect("a template");
    assert!(!template.is_incumbents());
    let text = template.example(Secrets::Shown).expect("filled in");
    let request = STANDARD.decode(text).expect("base64");
    let request = Request::from_bytes(&SecretBytes::new(request)).expect("a request");
    assert_eq!(request.bootstrap.order.as_str().len(), 36);
    let hidden = template.example(Secrets::Hidden);
    assert_eq!(hidden.expect("filled in"), "<secret>", "P11");
}

#[test]
fn p13_what_is_wrong_is_told_with_its_line_also_where_this_pool_does_not_come() {
    for (source, says) in [
        (
            "a\n{{ .TLSKey }}\n{{ .CACrt }}",
            "line 3: .CACrt is not known, did you mean .CACert?",
        ),
        (
            "{{ .TLSKey }}\n{{ if false }}\n{{ .Platform.Arhc }}{{ end }}",
            "line 3: .Platform.Arhc is not known, did you mean .Platform.Arch?",
        ),
        (
            "{{ .TLSKey }}\n{{ with .Tmate }}{{ $.Nothing }}{{ end }}",
            "line 2: .Nothing is not known",
        ),
        (
            "{{ .TLSKey }}{{ .Architecture.Bits }}",
            "line 1: .Architecture.Bits is not known",
        ),
        (
            "{{ .TLSKey | base65 }}",
            "line 1: function base65 is not known, did you mean base64?",
        ),
        (
            "{{ .TLSKey }}\n{{ if .TLSKey }}",
            "line 2: a block from here on has no {{ end }}",
        ),
        ("{{ .TLSKey }}\na{{ end }}b", "{{ else }} no block"),
        ("{{ .TLSKey }}a{{ else }}b", "{{ else }} no block"),
        ("{{ .TLSKey }}{{ define \"a\" }}b", "no {{ end }}"),
        ("{{ .TLSKey }}\n\n{{ .TLSKey", "line 3: "),
        ("{{ .Tmate | base64 }}{{ .TLSKey }}", "fill it in: "),
        (
            "{{ with .Tmate }}{{ .Server }}{{ end }}{{ .TLSKey }}",
            "Server",
        ),
        ("#cloud-config", "it uses neither .TLSKey nor .Request"),
        (
            "{{ .CACert }}{{ .TLSCert }}",
            "it uses neither .TLSKey nor .Request",
        ),
    ] {
        let said = refused(source);
        assert!(said.contains(says), "{source}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn p13_nothing_is_too_large_for_the_machine_that_reads_it() {
    let long = "#".repeat(64 * 1024 + 1);
    assert!(refused(&long).contains("65537 bytes are more than"));
    let turns = "{{ range 10001 }}x{{ end }}{{ .TLSKey }}";
    assert!(refused(turns).contains("range iteration budget"));
    let grows = format!(
        "{{{{ range 9000 }}}}{}{{{{ end }}}}{{{{ .TLSKey }}}}",
        "x".repeat(100)
    );
    assert!(refused(&grows).contains("bytes come of it"));
    let json = format!("{{\"{}\": \"{{{{ .TLSKey }}}}\"}}", "x".repeat(20_000));
    assert!(refused(&json).contains("cloud-init alone"));
    let config = format!("#cloud-config\n# {}{{{{ .TLSKey }}}}", "x".repeat(20_000));
    assert!(new(&config).is_ok(), "compressed it is small");
    let random = std::iter::repeat_with(fastrand::alphanumeric);
    let random: String = random.take(40_000).collect();
    assert!(refused(&format!("#{random}{{{{ .TLSKey }}}}")).contains("even compressed"));
}
