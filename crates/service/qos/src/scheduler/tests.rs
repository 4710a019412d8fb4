//! Simulated time: clients with requests, a server that does so many at once.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::scope::{Rates, Scope, ScopeKind};

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;

fn small() -> Cost {
    Cost::of_bytes(4096)
}

fn scope(rates: Rates) -> Arc<Scope> {
    Scope::new(ScopeKind::Volume, rates, 0)
}

fn weight(weight: u32) -> Share {
    Share::new(Some(weight), None, [])
}

fn with(rates: Rates) -> Share {
    Share::new(None, None, [scope(rates)])
}

/// Clients that always have `depth` requests outstanding, and a server that takes `service_ns` for each of `slots` at once.
struct Bench {
    scheduler: Scheduler<usize>,
    clients: Vec<ClientId>,
    /// Requests that each keeps outstanding.
    depth: Vec<usize>,
    cost: Vec<Cost>,
    outstanding: Vec<usize>,
    /// When what is under way ends, and whose it is.
    running: BTreeSet<(u64, u64, usize, u64)>,
    now: u64,
    served: Vec<Vec<(u64, u64)>>,
    longest_wait_ns: Vec<u64>,
}

impl Bench {
    fn new(shares: Vec<(Share, usize)>, window_units: u64) -> Self {
        let mut scheduler = Scheduler::default();
        scheduler.set_window(window_units);
        let (mut clients, mut depth) = (Vec::new(), Vec::new());
        for (share, one) in shares {
            clients.push(scheduler.add(share));
            depth.push(one);
        }
        let count = clients.len();
        Self {
            scheduler,
            clients,
            depth,
            cost: vec![small(); count],
            outstanding: vec![0; count],
            running: BTreeSet::new(),
            now: 0,
            served: vec![Vec::new(); count],
            longest_wait_ns: vec![0; count],
        }
    }

    /// Until `until`, each request taking `service_ns`; the server does everything that goes on at once, as devices do.
    fn run(&mut self, until: u64, service_ns: u64) {
        let mut number = 0;
        while self.now < until {
            for index in 0..self.clients.len() {
                while self.outstanding[index] < self.depth[index] {
                    self.outstanding[index] += 1;
                    self.scheduler.arrive(self.clients[index], self.cost[index], index, self.now);
                }
            }
            let mut next = until;
            loop {
                match self.scheduler.next(self.now) {
                    Decision::Go(go) => {
                        number += 1;
                        let index = go.token;
                        self.longest_wait_ns[index] = self.longest_wait_ns[index].max(go.waited_ns);
                        self.served[index].push((self.now, go.cost.ios));
                        self.running.insert((self.now + service_ns, number, index, go.room_units));
                    }
                    Decision::Until(at) => {
                        assert!(at > self.now, "what is due goes on");
                        next = next.min(at);
                        break;
                    }
                    Decision::Idle => break,
                }
            }
            next = self.running.first().map_or(next, |one| next.min(one.0));
            self.now = next;
            while let Some(one) = self.running.first().copied().filter(|one| one.0 <= self.now) {
                self.running.remove(&one);
                let (_, _, index, room_units) = one;
                self.scheduler.complete(room_units);
                self.outstanding[index] -= 1;
            }
        }
    }

    fn rate(&self, index: usize, from: u64, until: u64) -> f64 {
        let within = self.served[index].iter().filter(|(at, _)| (from..until).contains(at));
        within.map(|(_, ios)| *ios as f64).sum::<f64>() / ((until - from) as f64 / S as f64)
    }
}

fn close(is: f64, should: f64, part: f64) {
    assert!((is - should).abs() <= should * part, "{is} is not {should}");
}

#[test]
fn weights_divide_what_there_is() {
    let mut bench = Bench::new(vec![(weight(100), 32), (weight(300), 32), (weight(50), 32)], 20 * 8);
    bench.run(2 * S, MS);
    let all: f64 = (0..3).map(|index| bench.rate(index, 0, 2 * S)).sum();
    close(all, 8000.0, 0.02);
    for (index, part) in [100.0 / 450.0, 300.0 / 450.0, 50.0 / 450.0].into_iter().enumerate() {
        close(bench.rate(index, 0, 2 * S), all * part, 0.03);
    }
}

fn family(kind: ScopeKind, weight: u32) -> Arc<Scope> {
    Scope::new(kind, Rates { weight: Some(weight), ..Rates::default() }, 0)
}

fn member(weight: u32, families: &[&Arc<Scope>]) -> (Share, usize) {
    (Share::new(Some(weight), None, families.iter().map(|&family| family.clone())), 32)
}

#[test]
fn a_family_has_one_weight_however_many_it_is() {
    let large = family(ScopeKind::Tenant, 100);
    let small = family(ScopeKind::Tenant, 300);
    // Three of one tenant, of which one counts twice; one of the other; one of nobody.
    let shares = vec![
        member(100, &[&large]),
        member(100, &[&large]),
        member(200, &[&large]),
        member(50, &[&small]),
        member(100, &[]),
    ];
    let mut bench = Bench::new(shares, 20 * 8);
    bench.run(2 * S, MS);
    let parts = [25.0 / 500.0, 25.0 / 500.0, 50.0 / 500.0, 300.0 / 500.0, 100.0 / 500.0];
    for (index, part) in parts.into_iter().enumerate() {
        close(bench.rate(index, 0, 2 * S), 8000.0 * part, 0.03);
    }
}

#[test]
fn a_group_shares_what_its_tenant_has_and_idle_members_leave_their_part_to_the_family() {
    let tenant = family(ScopeKind::Tenant, 300);
    let (group, other) = (family(ScopeKind::Group, 200), family(ScopeKind::Group, 100));
    let mut shares = vec![
        member(100, &[&group, &tenant]),
        member(100, &[&group, &tenant]),
        member(100, &[&other, &tenant]),
        member(100, &[&tenant]),
        member(100, &[]),
    ];
    let mut bench = Bench::new(shares.clone(), 20 * 8);
    bench.run(2 * S, MS);
    for (index, part) in [0.1875, 0.1875, 0.1875, 0.1875, 0.25].into_iter().enumerate() {
        close(bench.rate(index, 0, 2 * S), 8000.0 * part, 0.04);
    }
    // One of the group has nothing to do, and the tenant's own next to nothing, because of its limit: the other of the group has all of
    // the group's.
    shares[1].1 = 0;
    let slow = scope(Rates { iops_max: Some(1), ..Rates::default() });
    shares[3].0 = Share::new(None, None, [slow, tenant.clone()]);
    let mut bench = Bench::new(shares, 20 * 8);
    bench.run(2 * S, MS);
    for (index, part) in [(0, 0.5), (2, 0.25), (4, 0.25)] {
        close(bench.rate(index, 0, 2 * S), 8000.0 * part, 0.04);
    }
}

#[test]
fn nothing_is_left_of_families_in_which_nothing_may_go_on() {
    let (before, after) = (family(ScopeKind::Group, 7), family(ScopeKind::Group, 9));
    let mut scheduler = Scheduler::default();
    scheduler.set_window(0);
    let clients: Vec<ClientId> = (0..3).map(|_| scheduler.add(member(1, &[&before]).0)).collect();
    let tickets: Vec<Ticket> = clients.iter().map(|&id| scheduler.arrive(id, small(), 0, 0)).collect();
    scheduler.set_share(clients[0], member(5, &[&after]).0, 1);
    assert!(scheduler.cancel(clients[0], tickets[0], 2));
    assert_eq!(scheduler.remove(clients[1]).len(), 1);
    scheduler.set_share(clients[2], member(5, &[&after]).0, 3);
    assert_eq!(scheduler.hurry(clients[2], 4).len(), 1);
    assert!(scheduler.families.is_empty());
}

#[test]
fn large_requests_get_fewer_turns_for_the_same_weight() {
    let mut bench = Bench::new(vec![(weight(100), 32), (weight(100), 32)], 20 * 8);
    bench.cost[1] = Cost::of_bytes(128 << 10);
    bench.run(4 * S, MS);
    let (small_turns, large_turns) = (bench.served[0].len() as f64, bench.served[1].len() as f64);
    close(small_turns / large_turns, 144.0 / 20.0, 0.05);
}

#[test]
fn a_limit_holds_and_its_burst_is_saved_up_by_a_pause() {
    let rates = Rates { iops_max: Some(1000), burst: Duration::from_secs(2), ..Rates::default() };
    let mut bench = Bench::new(vec![(with(rates), 0)], u64::MAX);
    bench.run(10 * S, MS);
    bench.depth[0] = 64;
    bench.run(20 * S, MS / 10);
    // What two seconds give at once, then the rate.
    close(bench.rate(0, 10 * S, 10 * S + 100 * MS) / 10.0, 2100.0, 0.02);
    close(bench.rate(0, 12 * S, 20 * S), 1000.0, 0.01);
}

#[test]
fn a_limit_of_bytes_holds_for_requests_of_any_size() {
    let rates = Rates { bytes_max: Some(10 << 20), ..Rates::default() };
    let mut bench = Bench::new(vec![(with(rates), 8)], u64::MAX);
    bench.cost[0] = Cost::of_bytes(1 << 20);
    bench.run(10 * S, MS);
    close(bench.served[0].len() as f64, 100.0, 0.02);
}

#[test]
fn a_reservation_is_served_before_any_weight_and_does_not_wait_for_room() {
    let rates = Rates { iops_min: Some(500), ..Rates::default() };
    let reserved = Share::new(Some(1), None, [scope(rates)]);
    let mut bench = Bench::new(vec![(weight(1000), 64), (reserved, 16)], 20 * 4);
    bench.run(4 * S, 2 * MS);
    close(bench.rate(1, S, 4 * S), 500.0, 0.03);
    assert!(bench.rate(0, S, 4 * S) > 1400.0);
}

#[test]
fn who_asks_for_less_than_his_reservation_does_not_wait() {
    let rates = Rates { iops_min: Some(1000), ..Rates::default() };
    // One at a time, each 2 ms: 500 a second at most.
    let mut bench = Bench::new(vec![(weight(100), 64), (with(rates), 1)], 20 * 4);
    bench.run(4 * S, 2 * MS);
    close(bench.rate(1, 0, 4 * S), 500.0, 0.02);
    assert_eq!(bench.longest_wait_ns[1], 0);
}

#[test]
fn a_reservation_comes_on_top_of_what_weight_gives() {
    let rates = Rates { iops_min: Some(1000), ..Rates::default() };
    let mut bench = Bench::new(vec![(weight(100), 32), (with(rates), 32)], 20 * 4);
    bench.run(4 * S, MS);
    // 4 slots of 1 ms, and reservations beyond them: each gets half of what is left.
    assert!(bench.rate(1, S, 4 * S) > bench.rate(0, S, 4 * S) + 900.0);
}

#[test]
fn limits_count_before_reservations() {
    let rates = Rates { iops_min: Some(500), iops_max: Some(500), ..Rates::default() };
    let group = Scope::new(ScopeKind::Group, Rates { iops_max: Some(200), ..Rates::default() }, 0);
    let mut bench = Bench::new(vec![(Share::new(None, None, [scope(rates), group]), 16)], u64::MAX);
    bench.run(4 * S, MS);
    close(bench.rate(0, S, 4 * S), 200.0, 0.02);
}

#[test]
fn a_group_has_one_limit_and_its_volumes_share_it() {
    let group = Scope::new(ScopeKind::Group, Rates { iops_max: Some(900), ..Rates::default() }, 0);
    let member = || (Share::new(None, None, [group.clone()]), 8);
    let mut bench = Bench::new(vec![member(), member(), member()], u64::MAX);
    bench.run(4 * S, MS);
    for index in 0..3 {
        close(bench.rate(index, S, 4 * S), 300.0, 0.03);
    }
    // Two schedulers with one scope are two cores.
    let group = Scope::new(ScopeKind::Tenant, Rates { iops_max: Some(1000), ..Rates::default() }, 0);
    let bench_of = |depth| Bench::new(vec![(Share::new(None, None, [group.clone()]), depth)], u64::MAX);
    let (mut one, mut other) = (bench_of(64), bench_of(1));
    for step in 1..4000 {
        one.run(step * MS, MS / 10);
        other.run(step * MS, MS / 10);
    }
    let (one, other) = (one.rate(0, S, 4 * S), other.rate(0, S, 4 * S));
    close(one + other, 1000.0, 0.02);
    close(other, 500.0, 0.1);
}

#[test]
fn a_group_has_one_reservation() {
    let group = Scope::new(ScopeKind::Group, Rates { iops_min: Some(600), ..Rates::default() }, 0);
    let member = || (Share::new(Some(1), None, [group.clone()]), 8);
    let mut bench = Bench::new(vec![(weight(1000), 64), member(), member()], 20 * 4);
    bench.run(4 * S, 2 * MS);
    close(bench.rate(1, S, 4 * S) + bench.rate(2, S, 4 * S), 600.0, 0.04);
}

#[test]
fn who_was_idle_has_saved_nothing_up() {
    let mut bench = Bench::new(vec![(weight(100), 32), (weight(100), 0)], 20 * 4);
    bench.run(10 * S, MS);
    bench.depth[1] = 32;
    bench.run(11 * S, MS);
    close(bench.rate(0, 10 * S, 11 * S), 2000.0, 0.03);
    close(bench.rate(1, 10 * S, 11 * S), 2000.0, 0.03);
}

#[test]
fn what_is_given_up_leaves_and_the_next_goes_on() {
    let rates = Rates { iops_max: Some(10), ..Rates::default() };
    let mut scheduler = Scheduler::default();
    let client = scheduler.add(with(rates));
    let tickets: Vec<Ticket> = (0..4).map(|token| scheduler.arrive(client, small(), token, 0)).collect();
    assert!(matches!(scheduler.next(0), Decision::Go(Dispatched { token: 0, .. })));
    assert_eq!(scheduler.next(0), Decision::Until(100 * MS));
    assert!(scheduler.cancel(client, tickets[2], 0));
    assert!(scheduler.cancel(client, tickets[1], 0));
    assert!(!scheduler.cancel(client, tickets[1], 0) && !scheduler.cancel(client, tickets[0], 0));
    assert_eq!(scheduler.waiting(client), 1);
    // The place of the head that left is lost.
    assert_eq!(scheduler.next(100 * MS), Decision::Until(200 * MS));
    assert!(matches!(
        scheduler.next(200 * MS),
        Decision::Go(Dispatched { token: 3, cause: Cause::Volume, waited_ns, .. }) if waited_ns == 200 * MS
    ));
    assert_eq!(scheduler.next(200 * MS), Decision::<i32>::Idle);
    assert_eq!(scheduler.remove(client), Vec::<i32>::new());
}

#[test]
fn another_limit_counts_at_once_also_for_what_waits() {
    let mut scheduler = Scheduler::default();
    let client = scheduler.add(with(Rates { iops_max: Some(1), ..Rates::default() }));
    for token in 0..3 {
        scheduler.arrive(client, small(), token, 0);
    }
    assert!(matches!(scheduler.next(0), Decision::Go(_)));
    assert_eq!(scheduler.next(0), Decision::Until(S));
    scheduler.set_share(client, with(Rates { iops_max: Some(1000), ..Rates::default() }), MS);
    assert!(matches!(scheduler.next(MS), Decision::Go(_)));
    scheduler.set_share(client, Share::default(), 2 * MS);
    assert!(matches!(scheduler.next(2 * MS), Decision::Go(Dispatched { token: 2, .. })));
    let other = scheduler.add(with(Rates { iops_max: Some(1), ..Rates::default() }));
    scheduler.arrive(other, small(), 7, 2 * MS);
    scheduler.arrive(other, small(), 8, 2 * MS);
    let hurried: Vec<i32> = scheduler.hurry(other, 2 * MS).into_iter().map(|go| go.token).collect();
    assert_eq!(hurried, [7, 8]);
}

fn any_rates() -> impl Strategy<Value = Rates> {
    let rate = || prop::option::weighted(0.4, 50u64..5000);
    (
        rate(),
        rate(),
        prop::option::weighted(0.3, (1u64 << 20)..(100 << 20)),
        0u64..500,
        prop::option::weighted(0.3, 100u32..1000),
    )
        .prop_map(|(iops_min, iops_max, bytes_max, burst_ms, weight)| Rates {
            iops_min,
            iops_max,
            bytes_min: None,
            bytes_max,
            burst: Duration::from_millis(burst_ms),
            weight,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Limits hold over every stretch of time, nobody starves, and nothing that may go on waits while there is room.
    #[test]
    fn promises_hold_for_any_settings(
        clients in prop::collection::vec((1u32..1000, any_rates(), 1usize..32, 0u64..(256 << 10)), 1..6),
        window in 1u64..16,
        service_us in 20u64..2000,
    ) {
        let shares = clients.iter().map(|(weight, rates, depth, _)| {
            (Share::new(Some(*weight), None, [scope(*rates)]), *depth)
        });
        let mut bench = Bench::new(shares.collect(), window * 20);
        bench.cost = clients.iter().map(|(_, _, _, bytes)| Cost::of_bytes(bytes / 512 * 512)).collect();
        bench.run(2 * S, service_us * 1000);
        let mut is_limited = true;
        for (index, (weight, rates, _, _)) in clients.iter().enumerate() {
            let served = &bench.served[index];
            let burst = rates.burst.max(Duration::from_millis(25)).as_nanos() as u64;
            for (limit, amount) in [(rates.iops_max, bench.cost[index].ios), (rates.bytes_max, bench.cost[index].bytes)] {
                let Some(limit) = limit else { continue };
                for step in [1, 7, 50] {
                    for pair in served.windows(step + 1) {
                        // Without the last one.
                        let taken = amount * step as u64;
                        let time = pair[step].0 - pair[0].0 + burst;
                        let allowed = u128::from(limit) * u128::from(time) / u128::from(S);
                        prop_assert!(u128::from(taken) <= allowed + 2, "{taken} > {allowed}");
                    }
                }
            }
            is_limited &= rates.iops_max.is_some() || rates.bytes_max.is_some();
            let is_tight = rates.iops_max.is_some_and(|rate| rate < 200) || rates.bytes_max.is_some();
            if *weight > 100 && !is_tight {
                prop_assert!(!served.is_empty(), "client {index} starves");
            }
        }
        // Somebody without a limit always has something to do, so the server is never idle.
        if !is_limited {
            let all: u64 = bench.served.iter().map(|served| served.len() as u64).sum();
            prop_assert!(all + 1 >= 2 * S / (service_us * 1000), "{all}");
        }
        let under_way: u64 = bench.running.iter().map(|one| one.3).sum();
        prop_assert_eq!(bench.scheduler.in_flight_units(), under_way);
    }

    /// However requests are given up, the others go on, and nothing is counted that is gone.
    #[test]
    fn giving_up_leaks_nothing(steps in prop::collection::vec((0usize..3, 0u8..4), 1..200)) {
        let group = Scope::new(ScopeKind::Group, Rates { iops_min: Some(100), weight: Some(9), ..Rates::default() }, 0);
        let mut scheduler = Scheduler::default();
        scheduler.set_window(60);
        let rates = Rates { iops_max: Some(500), ..Rates::default() };
        let shares = [Share::new(None, None, [scope(rates), group.clone()]), Share::new(None, None, [group]), weight(7)];
        let clients = shares.map(|share| scheduler.add(share));
        let (mut now, mut tickets, mut running, mut left) = (0, Vec::new(), Vec::new(), 0i64);
        for (index, what) in steps {
            now += MS / 3;
            match what {
                0 | 1 => {
                    tickets.push((index, scheduler.arrive(clients[index], small(), (), now)));
                    left += 1;
                }
                2 => if let Some((index, ticket)) = tickets.pop()
                    && scheduler.cancel(clients[index], ticket, now) { left -= 1 },
                _ => if let Some(room) = running.pop() { scheduler.complete(room) },
            }
            while let Decision::Go(go) = scheduler.next(now) {
                running.push(go.room_units);
                left -= 1;
            }
        }
        prop_assert_eq!(clients.iter().map(|client| scheduler.waiting(*client) as i64).sum::<i64>(), left);
        running.drain(..).for_each(|room| scheduler.complete(room));
        prop_assert_eq!(scheduler.in_flight_units(), 0);
        for _ in 0..10_000 {
            now += MS;
            while let Decision::Go(go) = scheduler.next(now) {
                scheduler.complete(go.room_units);
                left -= 1;
            }
        }
        prop_assert_eq!(left, 0);
        prop_assert!(scheduler.families.is_empty());
    }
}
