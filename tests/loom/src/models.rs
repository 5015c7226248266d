use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use crate::circuit::Circuit;
use crate::gcra::Quota;
use crate::nonzero;
use crate::table::{Place, Table};

/// Of all keys that are used here the lower half is zero: with one set, they are in it.
const fn key(number: u64) -> u64 {
    number << 32
}

fn hourly(burst: u32) -> Quota {
    Quota::per_hour(nonzero(1)).allow_burst(nonzero(burst))
}

/// The results of the threads, once all have finished.
fn each<T: 'static>(threads: Vec<thread::JoinHandle<T>>) -> Vec<T> {
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

#[test]
fn threads_share_one_budget() {
    loom::model(|| {
        let table = Arc::new(Table::new(4));
        let take = |_| {
            let table = Arc::clone(&table);
            thread::spawn(move || (0..2).filter(|_| table.take(key(1), hourly(3), 0).is_ok()).count())
        };
        assert_eq!(each((0..2).map(take).collect()).iter().sum::<usize>(), 3);
    });
}

#[test]
fn a_flood_of_keys_gives_an_exhausted_one_nothing_back() {
    loom::model(|| {
        let table = Arc::new(Table::new(4));
        table.take(key(1), hourly(1), 0).unwrap();
        let flood = |from: u64| {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                (from..from + 3).filter(|number| table.take(key(*number), hourly(1), 0).is_ok()).count()
            })
        };
        let admitted = each(vec![flood(10), flood(20)]);
        // Three buckets are left, and the one that all others share.
        assert_eq!(admitted.iter().sum::<usize>(), 4);
        assert!(table.take(key(1), hourly(1), 0).is_err());
    });
}

#[test]
fn two_new_keys_never_get_one_bucket() {
    loom::model(|| {
        let table = Arc::new(Table::new(4));
        (1..4).for_each(|number| _ = table.take(key(number), hourly(1), 0).unwrap());
        let take = |number: u64| {
            let table = Arc::clone(&table);
            thread::spawn(move || matches!(table.take(key(number), hourly(1), 0), Ok(Place::Own(_))))
        };
        let own = each(vec![take(8), take(9)]);
        assert_eq!(own.iter().filter(|own| **own).count(), 1, "the last bucket is one's own");
    });
}

#[test]
fn a_release_admits_one_more_and_no_other() {
    loom::model(|| {
        let table = Arc::new(Table::new(4));
        let place = table.take(key(1), hourly(1), 0).unwrap();
        let releasing = Arc::clone(&table);
        let release = thread::spawn(move || releasing.release(place, hourly(1)));
        let take = |_| {
            let table = Arc::clone(&table);
            thread::spawn(move || table.take(key(1), hourly(1), 0).is_ok())
        };
        let admitted = each((0..2).map(take).collect()).into_iter().filter(|admitted| *admitted).count();
        release.join().unwrap();
        let late = table.take(key(1), hourly(1), 0).is_ok();
        assert_eq!(admitted + usize::from(late), 1);
    });
}

#[test]
fn a_bucket_is_released_to_its_owner_only() {
    loom::model(|| {
        let table = Arc::new(Table::new(4));
        let place = table.take(key(1), hourly(1), 0).unwrap();
        // An hour later the bucket is full, and may be reassigned.
        let hour = 3_600_000_000_000;
        (2..5).for_each(|number| _ = table.take(key(number), hourly(1), hour).unwrap());
        let (releasing, taking) = (Arc::clone(&table), Arc::clone(&table));
        let release = thread::spawn(move || releasing.release(place, hourly(1)));
        let take = thread::spawn(move || taking.take(key(9), hourly(1), hour).is_ok());
        release.join().unwrap();
        assert!(take.join().unwrap());
        assert!(table.take(key(9), hourly(1), hour).is_err(), "the new owner has spent it");
    });
}

const SECOND: Duration = Duration::from_secs(1);

/// Returns a circuit that opened at zero.
fn open() -> Arc<Circuit> {
    let circuit = Circuit::default();
    (0..5).for_each(|_| _ = circuit.permit(Duration::ZERO).unwrap().failed(Duration::ZERO));
    assert!(circuit.permit(Duration::ZERO).is_err());
    Arc::new(circuit)
}

#[test]
fn there_is_one_probe_at_a_time() {
    loom::model(|| {
        let circuit = open();
        let probing = Arc::new(loom::sync::atomic::AtomicUsize::new(0));
        let probe = |_| {
            let (circuit, probing) = (Arc::clone(&circuit), Arc::clone(&probing));
            thread::spawn(move || {
                let Ok(permit) = circuit.permit(SECOND) else { return 0 };
                let others = probing.fetch_add(1, loom::sync::atomic::Ordering::SeqCst);
                assert_eq!(others, 0, "another probe is on its way");
                probing.fetch_sub(1, loom::sync::atomic::Ordering::SeqCst);
                drop(permit);
                1
            })
        };
        assert!(each((0..3).map(probe).collect()).into_iter().sum::<i32>() >= 1);
        // A dropped probe leaves it to the next call.
        assert!(circuit.permit(SECOND).is_ok());
    });
}

#[test]
fn failures_at_once_open_it_once() {
    loom::model(|| {
        let circuit = Arc::new(Circuit::default());
        (0..3).for_each(|_| assert!(circuit.permit(SECOND).unwrap().failed(SECOND).is_none()));
        let fail = |_| {
            let circuit = Arc::clone(&circuit);
            thread::spawn(move || circuit.permit(SECOND).ok().and_then(|permit| permit.failed(SECOND)).is_some())
        };
        let opened = each((0..3).map(fail).collect()).into_iter().filter(|opened| *opened).count();
        assert_eq!(opened, 1);
        assert!(circuit.permit(SECOND).is_err());
    });
}

#[test]
fn a_late_failure_does_not_undo_a_recovery() {
    loom::model(|| {
        let circuit = Arc::new(Circuit::default());
        let late = Arc::clone(&circuit);
        (0..4).for_each(|_| _ = circuit.permit(Duration::ZERO).unwrap().failed(Duration::ZERO));
        let failing = thread::spawn(move || late.permit(Duration::ZERO).ok().map(|permit| permit.failed(SECOND)));
        let answered = circuit.permit(Duration::ZERO).is_ok_and(|permit| permit.succeeded());
        assert!(!answered, "it was never open at the time of that call");
        failing.join().unwrap();
        // In either order, a call is permitted after a pause.
        assert!(circuit.permit(SECOND * 60).is_ok());
    });
}
