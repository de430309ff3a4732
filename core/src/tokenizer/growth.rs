//! What a chat template may do, so that a stranger's can neither run for ever nor fill the memory.
//!
//! The engine counts instructions (its fuel), but one of them may double a text. So texts are joined one
//! level deep: what a variable was joined to is not joined to again. Every published template of the
//! families that are read here joins at most a message's text and constants; what is more is refused by
//! its name. The output is bounded where it is written.

use std::collections::BTreeSet;

use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Slice, Stmt};
use minijinja::machinery::{WhitespaceConfig, parse};

/// Bytes of a template; published ones have up to 10,000.
const LONGEST: usize = 1 << 16;
/// Variables in one expression.
const MOST_MENTIONS: usize = 64;
/// Filters that join, beside the operators.
const JOINING: [&str; 4] = ["join", "replace", "tojson", "string"];

/// One assignment: by `set`, or by a loop.
struct Assignment<'a> {
    target: String,
    /// The variables that it is made of.
    mentions: Vec<String>,
    joins: bool,
    /// The statement's word, for messages.
    word: &'a str,
}

/// Checks a template's text.
///
/// # Errors
/// What is not supported.
pub(super) fn check_growth(source: &str) -> Result<(), String> {
    if source.len() > LONGEST {
        return Err(format!(
            "has {} bytes, at most {LONGEST} are read",
            source.len()
        ));
    }
    let whitespace = WhitespaceConfig {
        lstrip_blocks: true,
        trim_blocks: true,
        ..WhitespaceConfig::default()
    };
    let template = parse(source, "template", Default::default(), whitespace)
        .map_err(|error| format!("{error:#}").replace('\n', " "))?;
    let mut assignments = Vec::new();
    statement(&template, &mut assignments)?;
    check_assignments(&assignments)
}

/// Refuses what is joined to something that was joined already, however it came there.
fn check_assignments(assignments: &[Assignment]) -> Result<(), String> {
    let mut joined: BTreeSet<&str> = BTreeSet::new();
    loop {
        let before = joined.len();
        for assignment in assignments {
            let made_of_joined = assignment.mentions.iter().any(|name| holds(&joined, name));
            if assignment.joins || made_of_joined {
                joined.insert(&assignment.target);
            }
        }
        if joined.len() == before {
            break;
        }
    }
    for assignment in assignments.iter().filter(|assignment| assignment.joins) {
        if let Some(name) = assignment.mentions.iter().find(|name| holds(&joined, name)) {
            return Err(format!(
                "`{} {}` joins texts to `{name}`, which was joined before; that is not supported",
                assignment.word, assignment.target
            ));
        }
    }
    Ok(())
}

/// True when a variable, a part of it or the whole that it is a part of was joined.
fn holds(joined: &BTreeSet<&str>, name: &str) -> bool {
    let within = |whole: &str, part: &str| {
        let rest = part.strip_prefix(whole);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    joined
        .iter()
        .any(|other| within(other, name) || within(name, other))
}

fn statements<'a>(all: &[Stmt<'a>], found: &mut Vec<Assignment<'a>>) -> Result<(), String> {
    all.iter().try_for_each(|one| statement(one, found))
}

fn statement<'a>(one: &Stmt<'a>, found: &mut Vec<Assignment<'a>>) -> Result<(), String> {
    match one {
        Stmt::Template(template) => statements(&template.children, found),
        Stmt::EmitRaw(_) => Ok(()),
        Stmt::EmitExpr(emit) => Reading::of(&emit.expr).map(drop),
        Stmt::IfCond(cond) => {
            Reading::of(&cond.expr)?;
            statements(&cond.true_body, found)?;
            statements(&cond.false_body, found)
        }
        Stmt::Set(set) => {
            assign("set", &set.target, Reading::of(&set.expr)?, found);
            Ok(())
        }
        Stmt::ForLoop(each) if !each.recursive => {
            assign("for", &each.target, Reading::of(&each.iter)?, found);
            if let Some(filter) = &each.filter_expr {
                Reading::of(filter)?;
            }
            statements(&each.body, found)?;
            statements(&each.else_body, found)
        }
        Stmt::ForLoop(_) => Err("a recursive loop is not supported".into()),
        Stmt::SetBlock(_) => Err("`set` with a block is not supported".into()),
        Stmt::WithBlock(_) => Err("`with` is not supported".into()),
        _ => Err("only for, if and set are supported".into()),
    }
}

/// Adds an assignment for each variable of the target.
fn assign<'a>(word: &'a str, target: &Expr<'_>, reading: Reading, found: &mut Vec<Assignment<'a>>) {
    let targets = match target {
        Expr::List(list) => list.items.iter().filter_map(path).collect(),
        one => Vec::from_iter(path(one)),
    };
    for target in targets {
        found.push(Assignment {
            target,
            mentions: reading.mentions.clone(),
            joins: reading.joins,
            word,
        });
    }
}

/// A variable with its attributes: `ns.text`.
fn path(expr: &Expr<'_>) -> Option<String> {
    match expr {
        Expr::Var(var) => Some(var.id.to_owned()),
        Expr::GetAttr(attr) => Some(format!("{}.{}", path(&attr.expr)?, attr.name)),
        _ => None,
    }
}

/// What an expression reads.
#[derive(Default)]
struct Reading {
    mentions: Vec<String>,
    joins: bool,
}

impl Reading {
    fn of(expr: &Expr<'_>) -> Result<Self, String> {
        let mut reading = Self::default();
        reading.read(expr)?;
        match reading.mentions.len() <= MOST_MENTIONS {
            true => Ok(reading),
            false => Err(format!(
                "an expression has more than {MOST_MENTIONS} variables"
            )),
        }
    }

    fn all<'e, 'a: 'e>(
        &mut self,
        exprs: impl IntoIterator<Item = &'e Expr<'a>>,
    ) -> Result<(), String> {
        exprs.into_iter().try_for_each(|expr| self.read(expr))
    }

    fn read(&mut self, expr: &Expr<'_>) -> Result<(), String> {
        if let Some(path) = path(expr) {
            self.mentions.push(path);
            return Ok(());
        }
        match expr {
            Expr::Var(_) | Expr::Const(_) => Ok(()),
            Expr::GetAttr(attr) => self.read(&attr.expr),
            Expr::GetItem(item) => self.all([&item.expr, &item.subscript_expr]),
            Expr::Slice(slice) => self.slice(slice),
            Expr::UnaryOp(unary) => self.read(&unary.expr),
            Expr::BinOp(binary) => {
                self.joins |= match binary.op {
                    BinOpKind::Concat => true,
                    BinOpKind::Add => !is_number(&binary.left) && !is_number(&binary.right),
                    BinOpKind::Mul | BinOpKind::Pow => {
                        return Err("`*` is not supported".into());
                    }
                    _ => false,
                };
                self.all([&binary.left, &binary.right])
            }
            Expr::Compare(compare) => {
                self.read(&compare.expr)?;
                self.all(compare.ops.iter().map(|op| &op.expr))
            }
            Expr::IfExpr(choice) => {
                self.all([&choice.test_expr, &choice.true_expr])?;
                self.all(&choice.false_expr)
            }
            Expr::Filter(filter) => {
                self.joins |= JOINING.contains(&filter.name);
                self.all(&filter.expr)?;
                self.arguments(&filter.args)
            }
            Expr::Test(test) => {
                self.read(&test.expr)?;
                self.arguments(&test.args)
            }
            Expr::Call(call) => {
                self.read(&call.expr)?;
                self.arguments(&call.args)
            }
            Expr::List(list) => {
                self.joins |= list.items.len() > 1;
                self.all(&list.items)
            }
            Expr::Map(map) => {
                self.joins |= map.values.len() > 1;
                self.all(map.keys.iter().chain(&map.values))
            }
        }
    }

    fn slice(&mut self, slice: &Slice<'_>) -> Result<(), String> {
        if !slice.step.as_ref().is_none_or(is_forward) {
            return Err(
                "a slice whose step is not a number above 0 is not supported; `reverse` is".into(),
            );
        }
        self.read(&slice.expr)?;
        let ends = [&slice.start, &slice.stop, &slice.step];
        self.all(ends.into_iter().flatten())
    }

    fn arguments(&mut self, arguments: &[CallArg<'_>]) -> Result<(), String> {
        self.all(arguments.iter().map(|argument| match argument {
            CallArg::Pos(expr)
            | CallArg::Kwarg(_, expr)
            | CallArg::PosSplat(expr)
            | CallArg::KwargSplat(expr) => expr,
        }))
    }
}

fn is_number(expr: &Expr<'_>) -> bool {
    matches!(expr, Expr::Const(constant) if constant.value.is_number())
}

/// True for the step of a slice from its first item on. The engine (minijinja 2.24, to be reported there)
/// takes an item of an empty list where a slice goes backwards (`''[::-1]`, a panic), and subtracts
/// without looking where it ends behind its start.
fn is_forward(step: &Expr<'_>) -> bool {
    matches!(step, Expr::Const(constant) if i64::try_from(constant.value.clone()).is_ok_and(|step| step > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_published_templates_do_passes() {
        for template in [
            "{%- set ns = namespace(count=0) -%}{%- set ns.count = ns.count + 1 -%}{{ ns.count }}",
            "{% for m in messages %}{% if loop.first %}{% set s = m.content %}{% endif %}\
             {% set content = '<<SYS>>' + s + '<</SYS>>' + m['content'] %}{{ content ~ '\\n' }}{% endfor %}",
            "{{ messages[0]['content'] | trim }}{{ 'a' if add else ('b' ~ c) }}",
            "{% for i in range(3) %}{{ messages[i:][0].role }}{% endfor %}",
            "{{ messages[1::2] | reverse | list | length }}{{ 'abc'[-2:] }}",
        ] {
            assert_eq!(check_growth(template), Ok(()), "{template}");
        }
    }

    #[test]
    fn what_doubles_is_refused() {
        for (template, message) in [
            (
                "{% set a = 'x' %}{% for i in range(60) %}{% set a = a ~ a %}{% endfor %}",
                "`set a` joins",
            ),
            (
                "{% set n = namespace(a='x') %}{% for i in range(60) %}{% set n.a = n.a + n.a %}{% endfor %}",
                "`set n.a` joins",
            ),
            (
                "{% set a = 'x' ~ y %}{% set b = a ~ a %}",
                "`set b` joins texts to `a`",
            ),
            (
                "{% set a = b ~ b %}{% set c = a %}{% set b = c %}",
                "`set a` joins",
            ),
            ("{% set a = [a, a] %}", "`set a` joins"),
            ("{% set a = [a, a] | join %}", "`set a` joins"),
            (
                "{% for a in [b ~ b] %}{% set b = a %}{% endfor %}",
                "`for a` joins",
            ),
            (
                "{% set a %}{{ a }}{{ a }}{% endset %}",
                "`set` with a block",
            ),
            (
                "{% macro f(a) %}{{ f(a ~ a) }}{% endmacro %}{{ f('x') }}",
                "unknown statement macro",
            ),
            (
                "{% for a in b recursive %}{{ loop(a) }}{% endfor %}",
                "recursive",
            ),
            ("{{ 'x' * 100000000 }}", "`*`"),
        ] {
            let error = check_growth(template).unwrap_err();
            assert!(error.contains(message), "{template}: {error}");
        }
        let long = "x".repeat(LONGEST + 1);
        assert!(check_growth(&long).unwrap_err().contains("bytes"));
        let wide = format!("{{{{ {} }}}}", vec!["a"; 65].join(" ~ "));
        assert!(check_growth(&wide).unwrap_err().contains("64 variables"));
    }

    #[test]
    fn slices_that_the_engine_panics_at_are_refused() {
        // The first panics in every build, the second in those that check sums.
        for template in [
            "{{ ''[::-1] }}",
            "{{ messages[:2:-1] }}",
            "{% set by = -1 %}{% for m in messages[9::by] %}{% endfor %}",
            "{{ messages[::0] }}",
            "{{ 'a'[::none] }}",
        ] {
            let error = check_growth(template).unwrap_err();
            assert!(error.contains("slice"), "{template}: {error}");
        }
    }
}
