//! Cases measured side by side in one run.
//!
//! A shared machine drifts by tens of percents between runs, and within one. So the cases of a comparison take turns in
//! short batches, and what counts is the ratio of one to the other in the same round, by its median over all rounds.
//! Allocations are counted, which is exact.
//!
//! With the argument `instructions`, instructions are counted instead of time, by `valgrind`: the bench runs itself once
//! more for each case. Those of other threads are not counted.

use std::hint::black_box;
use std::process::{Command, exit};
use std::time::{Duration, Instant};

/// One thing to measure.
pub(crate) struct Case<'a> {
    name: String,
    run: Box<dyn FnMut() + 'a>,
}

impl<'a> Case<'a> {
    pub(crate) fn new<T>(name: impl Into<String>, mut run: impl FnMut() -> T + 'a) -> Self {
        Self { name: name.into(), run: Box::new(move || drop(black_box(run()))) }
    }
}

/// The measurements of a case.
pub(crate) struct Figure {
    /// Nanoseconds, or instructions.
    pub(crate) cost: f64,
    /// To the first case.
    pub(crate) ratio: f64,
    pub(crate) allocations: u64,
}

const ROUNDS: usize = 101;
const BATCH: Duration = Duration::from_millis(2);

/// Measures the cases in turns and prints a table; the first case is the base of the ratios.
pub(crate) fn compare(title: &str, mut cases: Vec<Case<'_>>) -> Vec<Figure> {
    counted_run(title, &mut cases);
    if std::env::args().any(|argument| argument == "instructions") {
        return compare_instructions(title, cases);
    }
    let batches: Vec<u32> = cases.iter_mut().map(calibrate).collect();
    let mut times: Vec<Vec<f64>> = vec![Vec::with_capacity(ROUNDS); cases.len()];
    for _ in 0..ROUNDS {
        for ((case, batch), times) in cases.iter_mut().zip(&batches).zip(&mut times) {
            times.push(time(case, *batch));
        }
    }
    println!("\n## {title}\n\n| case | ns | ratio | allocations |\n| --- | ---: | ---: | ---: |");
    let base = times.first().cloned().unwrap_or_default();
    let figures = cases.iter_mut().zip(times).map(|(case, times)| {
        let ratios = times.iter().zip(&base).map(|(time, base)| time / base).collect();
        let figure = Figure { cost: median(times), ratio: median(ratios), allocations: allocations(case) };
        println!("| {} | {:.0} | {:.2} | {} |", case.name, figure.cost, figure.ratio, figure.allocations);
        figure
    });
    figures.collect()
}

/// In the environment of a run whose instructions are counted: the comparison and the case.
const COUNTED: [&str; 2] = ["BENCH_COMPARISON", "BENCH_CASE"];
/// The calls before the count begins, which fill caches and build tables, and those that are counted.
const WARM_UP: u32 = 100;
const COUNTED_CALLS: u32 = 400;

/// Runs one case and ends, in a run whose instructions are counted.
fn counted_run(title: &str, cases: &mut [Case<'_>]) {
    let [Some(comparison), Some(name)] = COUNTED.map(|name| std::env::var(name).ok()) else { return };
    if let Some(case) = cases.iter_mut().filter(|_| comparison == title).find(|case| case.name == name) {
        (0..WARM_UP).for_each(|_| (case.run)());
        counted(case);
        exit(0);
    }
}

/// Runs a case between the start and the end of counting, which `valgrind` finds by the name of this function.
#[inline(never)]
fn counted(case: &mut Case<'_>) {
    (0..COUNTED_CALLS).for_each(|_| (case.run)());
}

fn compare_instructions(title: &str, mut cases: Vec<Case<'_>>) -> Vec<Figure> {
    println!("\n## {title}\n\n| case | instructions | ratio | allocations |\n| --- | ---: | ---: | ---: |");
    let mut base = None;
    let figures = cases.iter_mut().map(|case| {
        let cost = instructions(title, &case.name) / f64::from(COUNTED_CALLS);
        (case.run)();
        let figure = Figure { cost, ratio: cost / *base.get_or_insert(cost), allocations: allocations(case) };
        println!("| {} | {:.0} | {:.2} | {} |", case.name, figure.cost, figure.ratio, figure.allocations);
        figure
    });
    figures.collect()
}

/// Returns the instructions of the counted calls; NaN without `valgrind`.
fn instructions(title: &str, case: &str) -> f64 {
    let Ok(program) = std::env::current_exe() else { return f64::NAN };
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*::support::counted"])
        .arg(program)
        .args(std::env::args().skip(1))
        .envs(COUNTED.into_iter().zip([title, case]))
        .output();
    let report = run.map(|run| String::from_utf8_lossy(&run.stderr).into_owned()).unwrap_or_default();
    let collected =
        report.lines().find_map(|line| line.split_once("Collected : ").map(|(_, count)| count.trim().parse()));
    collected.and_then(Result::ok).unwrap_or(f64::NAN)
}

/// Prints a figure of the table in README.md.
pub(crate) fn figure(what: &str, figure: f64) {
    println!("figure: {what}: {figure:.2}");
}

fn calibrate(case: &mut Case<'_>) -> u32 {
    (0..200).for_each(|_| (case.run)());
    let mut batch = 1;
    while time(case, batch) * f64::from(batch) < nanos(BATCH) && batch < 1 << 20 {
        batch *= 2;
    }
    batch
}

/// Nanoseconds a call.
#[expect(clippy::disallowed_methods, reason = "this is what measures")]
fn time(case: &mut Case<'_>, batch: u32) -> f64 {
    let start = Instant::now();
    (0..batch).for_each(|_| (case.run)());
    nanos(start.elapsed()) / f64::from(batch)
}

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

#[cfg(feature = "count-allocations")]
fn allocations(case: &mut Case<'_>) -> u64 {
    allocation_counter::measure(|| (case.run)()).count_total
}

#[cfg(not(feature = "count-allocations"))]
fn allocations(case: &mut Case<'_>) -> u64 {
    (case.run)();
    0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
