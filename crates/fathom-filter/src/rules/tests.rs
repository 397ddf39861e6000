use super::*;
use crate::args::ArgFormat;
use SpecKind::{Argument, CallerFilter, Filter, Hide, Location as Loc, NoTrace, Retval, Trigger};
use fathom_abi::decide::{
    CALLER, DEPTH, FILTER_IN, FILTER_OUT, HIDE, SIZE, TIME, TRACE, TRACE_OFF, TRACE_ON,
};

fn function(name: &str) -> Subject<'_> {
    Subject {
        shown: name,
        raw: name,
        module: "/bin/prog",
        is_plt: false,
        is_kernel: false,
        size: 64,
        source: None,
    }
}

/// Rules that have seen some functions.
fn rules(specs: &[(SpecKind, &str)]) -> Rules {
    let mut all = Specs::new();
    for (kind, text) in specs {
        all.push(*kind, text).unwrap();
    }
    let mut rules = Rules::new(&all, Match::Regex).unwrap();
    for name in ["main", "foo", "bar", "ns::run"] {
        rules.observe(&function(name));
    }
    rules.observe(&Subject { is_plt: true, ..function("malloc") });
    rules.observe(&Subject { module: "/lib/libc.so.6", ..function("malloc") });
    rules.observe(&Subject { module: "[kernel]", is_kernel: true, ..function("sys_open") });
    rules.observe(&Subject { source: Some("src/foo.c"), ..function("foo") });
    rules
}

fn flags(specs: &[(SpecKind, &str)], name: &str) -> u32 {
    rules(specs).rule(&function(name)).map_or(0, |rule| rule.decide.flags)
}

#[test]
fn one_option_each() {
    assert_eq!(flags(&[(Filter, "foo")], "foo"), FILTER_IN);
    assert_eq!(flags(&[(Filter, "foo")], "bar"), 0);
    assert_eq!(flags(&[(NoTrace, "foo")], "foo"), FILTER_OUT);
    assert_eq!(flags(&[(Filter, "!foo")], "foo"), FILTER_OUT);
    assert_eq!(flags(&[(CallerFilter, "foo")], "foo"), CALLER);
    assert_eq!(flags(&[(Hide, "foo")], "foo"), HIDE);
    assert_eq!(flags(&[(Trigger, "foo@trace,hide")], "foo"), TRACE | HIDE);
    assert_eq!(rules(&[(Filter, "foo")]).rule(&function("bar")), None);
}

#[test]
fn later_specs_overwrite() {
    assert_eq!(flags(&[(Filter, "foo"), (NoTrace, "foo")], "foo"), FILTER_OUT);
    assert_eq!(flags(&[(NoTrace, "foo"), (Filter, "fo.")], "foo"), FILTER_IN);
    let on_off = [(Trigger, "foo@trace_on"), (Trigger, "foo@trace_off")];
    assert_eq!(flags(&on_off, "foo"), TRACE_OFF);
    // Triggers come after filters, in whatever order they are given.
    let rules = rules(&[(Trigger, "foo@depth=3,time=1us"), (Filter, "foo@depth=2,size=9")]);
    let rule = rules.rule(&function("foo")).unwrap().decide;
    let wanted = Rule { flags: FILTER_IN | DEPTH | TIME | SIZE, depth: 3, time: 1000, size: 9, reserved: 0 };
    assert_eq!(rule, wanted);
}

#[test]
fn what_is_not_a_flag() {
    let rules = rules(&[
        (Trigger, "foo@backtrace,color=red,read=proc/statm,read=pmu-cache"),
        (Filter, "foo@if:arg1 > 3"),
        (Argument, "foo@arg1/s,fparg1;fo+@arg1/x"),
        (Retval, "foo@retval/i32"),
        (Argument, "bar"),
        (Retval, "bar"),
        (Trigger, "main@auto-args,arg2,retval"),
    ]);
    let rule = rules.rule(&function("foo")).unwrap();
    assert!(rule.backtrace && rule.color == Some(Color::Red));
    assert!(rule.reads.contains(Reads::PROC_STATM) && rule.reads.contains(Reads::PMU_CACHE));
    assert!(!rule.reads.contains(Reads::PAGE_FAULT));
    assert_eq!(rule.condition.unwrap().value, 3);
    assert_eq!((rule.decide.flags, rule.without_filter().flags), (FILTER_IN, 0));
    let formats: Vec<_> = rule.args.iter().map(|spec| spec.format).collect();
    assert_eq!(formats, [ArgFormat::String, ArgFormat::Float]);
    assert_eq!(rule.retval.unwrap().size, 4);
    assert!(!rule.auto_args && !rule.auto_retval);
    let rule = rules.rule(&function("bar")).unwrap();
    assert!(rule.auto_args && rule.auto_retval && rule.args.is_empty());
    let rule = rules.rule(&function("main")).unwrap();
    assert!(rule.auto_args && rule.args.len() == 1 && rule.retval.is_some());
}

#[test]
fn scopes() {
    let plt = Subject { is_plt: true, ..function("malloc") };
    let libc = Subject { module: "/lib/libc.so.6", ..function("malloc") };
    let kernel = Subject { is_kernel: true, ..function("malloc") };
    let seen = |text: &str| {
        let rules = rules(&[(Filter, text)]);
        [plt, libc, kernel].map(|subject| rules.rule(&subject).is_some())
    };
    assert_eq!(seen("malloc"), [true, true, false]);
    assert_eq!(seen("malloc@plt"), [true, false, false]);
    assert_eq!(seen("malloc@libc"), [false, true, false]);
    assert_eq!(seen("malloc@prog"), [true, false, false]);
    assert_eq!(seen("malloc@k"), [false, false, true]);
}

#[test]
fn opt_in_counts_when_something_matches() {
    assert!(rules(&[(Filter, "foo")]).has_opt_in());
    assert!(!rules(&[(Filter, "nope")]).has_opt_in() && !rules(&[(NoTrace, "foo")]).has_opt_in());
    assert!(rules(&[(Trigger, "foo@filter")]).has_opt_in());
    // uftrace counts the spec, even though another one takes its effect away.
    assert!(rules(&[(Filter, "foo"), (NoTrace, "foo")]).has_opt_in());
    assert!(rules(&[(CallerFilter, "foo")]).has_caller() && !rules(&[(CallerFilter, "nope")]).has_caller());
    assert!(rules(&[(Trigger, "foo@caller")]).has_caller());
}

#[test]
fn source_locations() {
    let foo = Subject { source: Some("src/foo.c"), ..function("foo") };
    let rules_of = |text: &str| rules(&[(Loc, text)]);
    let hidden = |text: &str, subject: &Subject| {
        rules_of(text).rule(subject).is_some_and(|rule| rule.decide.flags & HIDE != 0)
    };
    assert!(rules_of("src").needs_source() && rules_of("src").has_opt_in_location());
    assert!(!hidden("src", &foo) && hidden("src", &function("bar")));
    assert!(hidden("foo.c@hide", &foo) && !hidden("foo.c@hide", &function("bar")));
    assert!(!hidden("nope.c", &foo) && !hidden("nope.c", &function("bar")));
    let mut blind = Specs::new();
    blind.push(Loc, "t.c").unwrap();
    let mut blind = Rules::new(&blind, Match::Regex).unwrap();
    blind.observe(&function("main"));
    assert_eq!(
        blind.unmatched()[0].to_string(),
        "-L t.c: there is no source file 't.c', and none is known of any function"
    );
    assert_eq!(rules_of("nope.c").unmatched()[0].to_string(), "-L nope.c: there is no source file 'nope.c'");
}

#[test]
fn clearing() {
    let with = |last: (SpecKind, &str)| {
        let all = [(Filter, "foo@if:arg1 == 1"), (Trigger, "foo@depth=2,color=red,arg1,trace"), last];
        rules(&all).rule(&function("foo"))
    };
    assert_eq!(with((Trigger, "foo@clear")), None);
    let rule = with((Trigger, "foo@clear=depth+arg+filter")).unwrap();
    let wanted = Rule { flags: TRACE, ..Rule::default() };
    assert_eq!((rule.decide, rule.condition, rule.args.len()), (wanted, None, 0));
    assert_eq!(rule.color, Some(Color::Red));
    // What is set together with it stays.
    assert_eq!(
        with((Trigger, "foo@depth=5,clear")).unwrap().decide,
        Rule { flags: DEPTH, depth: 5, ..Rule::default() }
    );
    // Other options take back only what is theirs.
    let rules = rules(&[(Filter, "foo"), (Filter, "foo@clear"), (Trigger, "foo@trace_on")]);
    assert_eq!(rules.rule(&function("foo")).unwrap().decide.flags, TRACE_ON);
}

#[test]
fn specs_that_match_nothing() {
    let unmatched = |kind, text| {
        let rules = rules(&[(kind, text)]);
        rules.unmatched().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(unmatched(Filter, "foo;main"), [""; 0]);
    assert_eq!(unmatched(Filter, "fop"), ["-F fop: there is no function 'fop'; did you mean 'foo'?"]);
    assert_eq!(unmatched(NoTrace, "run"), ["-N run: there is no function 'run'; did you mean 'ns::run'?"]);
    assert_eq!(unmatched(Filter, "^xyz"), ["-F ^xyz: there is no function '^xyz'"]);
    assert_eq!(
        unmatched(Filter, "foo@backtrce"),
        ["-F foo@backtrce: no module is called 'backtrce'; did you mean 'backtrace'?"]
    );
    assert_eq!(
        unmatched(Trigger, "sys_opem@k,trace"),
        ["-T sys_opem@k,trace: there is no function 'sys_opem'; did you mean 'sys_open'?"]
    );
}

#[test]
fn bad_patterns() {
    let error = |text: &str, how| {
        let mut specs = Specs::new();
        specs.push(Filter, text).unwrap();
        Rules::new(&specs, how).unwrap_err().to_string()
    };
    assert_eq!(
        error("*foo@depth=1", Match::Regex),
        "-F *foo@depth=1: '*foo': repetition operator missing expression; shell patterns need --match glob"
    );
    assert_eq!(error("fo(", Match::Regex), "-F fo(: 'fo(': unclosed group");
}
