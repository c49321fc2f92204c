use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Policies, Vec<Problem>> {
    Policies::parse(&[Source { file: "a.cedar", text }], None)
}

/// All that is wrong, a line each.
fn problems(text: &str) -> String {
    let problems = parse(text).err().unwrap_or_default();
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

fn warnings(text: &str) -> String {
    let policies = parse(text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    policies.warnings().iter().map(|problem| format!("{problem}\n")).collect()
}

fn when(condition: &str) -> String {
    format!("permit(principal, action, resource) when {{ {condition} }};")
}

#[test]
fn every_mistake_is_told_with_its_place_and_what_to_do() {
    for (text, told) in [
        ("permit(principal, action, resource)", "1:36: unexpected end of input: expected `;`"),
        ("// c\npermit(principal, action resource);", "2:26: unexpected token `resource`"),
        (
            "permit(principal == Usr::\"a\", action, resource);",
            "1:21: unrecognized entity type `Usr`; did you mean `User`?",
        ),
        (
            "permit(principal, action == Action::\"chat\", resource);",
            "1:29: unrecognized action `Action::\"chat\"`",
        ),
        (
            &when("principal.claims.department == \"x\""),
            "1:44: attribute `claims` on entity type `Key` not found (and the like for 1 more); claims are tags, each a set: principal.hasTag(\"department\")",
        ),
        (
            &when("context.estimated_cost > 3"),
            "1:44: attribute `estimated_cost` in context for Action::\"call_tool\" not found (and the like for 3 more)",
        ),
        (
            &when("User::\"bob\".id == \"bob\""),
            "1:44: entity literals cannot be dereferenced at any level; only what a request leads to can be looked into",
        ),
        (&when("1"), "1:44: unexpected type: expected Bool but saw Long"),
        (&when("context.ip.isInRange(ip(\"10.0.0.0.0\"))"), "failed to parse as IP address"),
        (&when("principal.getTag(\"x\").contains(\"y\")"), ".hasTag(\"x\") &&"),
        (&when("principal.id == \"\u{202e}a\""), "1:60: string"),
        (&when("\"no end"), "1:44: invalid token"),
        (
            "permit(principal == ?principal, action, resource);",
            "1:21: expected a static policy, got a template containing the slot ?principal",
        ),
        (
            "@id(\"\")permit(principal, action, resource);",
            "1:1: an @id must be 1 to 128 characters",
        ),
        (
            "@id(\"a\nb\")permit(principal, action, resource);",
            "1:1: an @id must be 1 to 128 characters",
        ),
    ] {
        let found = problems(text);
        assert!(found.starts_with("a.cedar:") && found.contains(told), "{text}\n{found}{told}");
        assert!(!found.contains(|char: char| char.is_control() && char != '\n'), "{found:?}");
    }
}

#[test]
fn it_is_known_whether_any_policy_looks_at_the_cost() {
    let look = |text: &str| parse(text).unwrap().look_at_cost();
    let by_tokens = "permit(principal, action in Action::\"infer\", resource) \
                     when { context.estimated_tokens < 3 };";
    assert!(!look(""));
    assert!(!look(by_tokens));
    for condition in ["context.estimated_cost > 3", "true"] {
        let by_cost = format!(
            "{by_tokens}\nforbid(principal, action in Action::\"infer\", resource) \
             when {{ context has estimated_cost && {condition} }};"
        );
        assert!(look(&by_cost), "{by_cost}");
    }
}

#[test]
fn one_mistake_hides_no_other() {
    let text = "nonsense;\npermit(principal, action, resource) when { nobody };\n\
                permit(principal == Usr::\"a\", action, resource);\n\
                permit(principal, action == Action::\"chat\", resource);";
    let found = problems(text);
    let lines: Vec<_> = found.lines().map(|line| &line[..10]).collect();
    assert_eq!(lines, ["a.cedar:1:", "a.cedar:2:", "a.cedar:3:", "a.cedar:4:"], "{found}");
}

#[test]
fn an_id_is_unique_over_all_files() {
    let one = Source { file: "a.cedar", text: "\n@id(\"x\") permit(principal, action, resource);" };
    let other = Source { file: "b.cedar", ..one };
    let problems = Policies::parse(&[one, other], None).expect_err("refused");
    let found: Vec<_> = problems.iter().map(Problem::to_string).collect();
    assert_eq!(
        found,
        ["b.cedar:2:1: the policy id `x` is used twice; it is that of a.cedar:2, too"]
    );
}

#[test]
fn a_policy_is_known_by_its_id_or_else_by_its_place() {
    let text = "@id(\"x\") @description(\"why\")\npermit(principal, action, resource);\n\
                // about it\nforbid(principal, action, resource); permit(principal, action, resource);";
    let policies = parse(text).expect("valid");
    let shown: Vec<_> = policies.iter().map(|policy| (policy.id.as_str(), policy.line)).collect();
    assert_eq!(shown, [("x", 1), ("a.cedar:4", 4), ("a.cedar:4:38", 4)]);
    let first = policies.iter().next().expect("three");
    assert_eq!((first.effect, first.description.as_deref()), (Effect::Permit, Some("why")));
    assert_eq!(policies.len(), 3);
}

#[test]
fn what_can_never_apply_is_warned_of() {
    assert_eq!(warnings(&when("principal.kind == \"key\"")), "");
    assert!(warnings(&when("false")).contains("impossible"));
    let never = "permit(principal, action == Action::\"call_tool\", resource is Model);";
    assert!(warnings(never).contains("unable to find an applicable action"));
    let mixed = "permit(principal, action, resource in Provider::\"\u{430}pple\");";
    assert!(warnings(mixed).contains("mixed scripts"));
}

#[test]
fn the_version_is_that_of_names_and_texts() {
    let parse = |files: &[(&str, &str)]| {
        let sources: Vec<_> = files.iter().map(|&(file, text)| Source { file, text }).collect();
        Policies::parse(&sources, None).expect("valid").version().to_string()
    };
    let permit = "permit(principal, action, resource);";
    let version = parse(&[("a", permit)]);
    assert_eq!(version.len(), 16);
    assert_eq!(version, parse(&[("a", permit)]));
    for other in [&[("b", permit)][..], &[("a", "")], &[("a", permit), ("b", "")], &[]] {
        assert_ne!(version, parse(other), "{other:?}");
    }
    let schema = Source { file: "s", text: &format!("{} ", schema::BUILT_IN) };
    let source = Source { file: "a", text: permit };
    let other = Policies::parse(&[source], Some(schema)).expect("valid");
    assert_ne!(version, **other.version());
}

#[test]
fn too_much_is_refused() {
    let many = "permit(principal, action, resource);".repeat(MAX_POLICIES + 1);
    assert!(problems(&many).contains("more than 5000 policies"));
    let long = format!("//{}", "x".repeat(MAX_BYTES));
    assert!(problems(&long).contains("longer than 4 MiB"));
    let half = "/".repeat(MAX_BYTES / 2 + 1);
    let [one, other] = ["a", "b"].map(|file| Source { file, text: &half });
    assert!(Policies::parse(&[one], None).is_ok());
    let problems = Policies::parse(&[one, other], None).expect_err("refused");
    assert_eq!(problems[0].file, "b");
}

#[test]
fn the_deepest_policies_that_are_tried_do_not_exhaust_the_stack() {
    use super::super::split::{MAX_NESTING, MAX_OPERATORS};

    let deep = MAX_NESTING - 2;
    let long = MAX_OPERATORS - 10;
    for condition in [
        format!("{}true{}", "(".repeat(deep), ")".repeat(deep)),
        format!("{}1{} == []", "[".repeat(deep), "]".repeat(deep)),
        format!("{}1{} == {{}}", "{\"a\":".repeat(deep), "}".repeat(deep)),
        format!("true{}", "&&true".repeat(long / 2)),
        format!("true{}", "||true".repeat(long / 2)),
        format!("1 == 1{}", "+1".repeat(long)),
        format!("{}true", "if true then true else ".repeat(long)),
        format!("principal{}", ".a".repeat(long)),
        format!("principal has a{}", ".a".repeat(long)),
        format!("principal{}", ".contains(1)".repeat(long)),
        format!("{}true{}", "((!(if true then ".repeat(deep / 3), " else true)))".repeat(deep / 3)),
    ] {
        let text = when(&condition);
        // Whether it is valid does not matter here.
        let told = problems(&text);
        assert!(!told.contains("a policy has") && !told.contains("gave up"), "{told}");
    }
}

const SHIPPED: &str = include_str!("../../../../policies/models.cedar");

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Files as people break them: a piece is gone, doubled or put elsewhere.
    #[test]
    fn a_broken_file_is_told_of_within_its_lines(
        from in 0..SHIPPED.len(),
        length in 0..80usize,
        to in 0..SHIPPED.len(),
        more in "[\\PC\n]{0,3}",
    ) {
        let bytes = SHIPPED.as_bytes();
        let (cut, end) = (from.min(to), (from + length).min(bytes.len()));
        let text = [&bytes[..cut], more.as_bytes(), &bytes[from..end], &bytes[to..]].concat();
        let text = String::from_utf8(text).expect("the file is ASCII");
        for problem in parse(&text).err().unwrap_or_default() {
            prop_assert!((1..=text.lines().count() + 1).contains(&problem.line), "{}", problem);
            prop_assert!(problem.column >= 1 && !problem.message.is_empty());
            prop_assert!(!problem.to_string().contains(char::is_control), "{:?}", problem);
        }
    }
}
