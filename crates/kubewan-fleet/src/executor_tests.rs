//! Tests of the executor with hosts that exist in memory only.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use kubewan_core::action::kubeadm::{JoinSeen, TokenSeen};
use kubewan_core::action::system::{ModuleSeen, SysctlSeen};
use kubewan_core::action::{BootstrapToken, KubeadmJoin, Module, Observed, Sysctl};
use kubewan_core::inventory::{Host, Role, Ssh};
use kubewan_core::plan::Step;

use super::*;
use crate::client::{Agent, Dial, Dialed, LinkLost, Login};
use crate::failure::{ConnectError, Obstacle};

/// What hosts do wrong, and what was asked of them.
#[derive(Default)]
struct World {
    /// The link is cut after so many events of a batch, once.
    cut_after: Option<usize>,
    /// As `cut_after`, for every connection; the next one gets so many events more.
    cut_always: Option<(usize, usize)>,
    /// Connections that are refused after that.
    refused: usize,
    /// Steps that fail, by id.
    failing: Vec<String>,
    /// Another run that has every host.
    busy: Option<String>,
    dials: usize,
    /// Hosts whose agents were started.
    started: Vec<String>,
    /// Hosts that never let anyone in.
    closed: Vec<String>,
    orders: Vec<(String, Orders)>,
    /// What kubectl says on standard error, one question after another; nothing more: it succeeds.
    complaints: VecDeque<&'static str>,
}

struct FakeDial(Arc<Mutex<World>>);

struct FakeAgent {
    host: String,
    world: Arc<Mutex<World>>,
    answers: VecDeque<(Vec<BatchEvent>, Result<Response, LinkLost>)>,
}

impl Dial for FakeDial {
    fn log_in<'a>(&'a self, host: &'a Host) -> Result<Box<dyn Login + 'a>, ConnectError> {
        let mut world = self.0.lock().unwrap();
        world.dials += 1;
        if world.closed.contains(&host.name) {
            return Err(ConnectError::new(host, Obstacle::Denied, "Permission denied (publickey)"));
        }
        if world.dials > 2 && world.refused > 0 {
            world.refused -= 1;
            return Err(ConnectError::new(host, Obstacle::Silent, "Connection timed out"));
        }
        let (host, world) = (host.name.clone(), Arc::clone(&self.0));
        let agent = FakeAgent { host, world, answers: VecDeque::new() };
        Ok(Box::new(FakeLogin(agent)))
    }
}

struct FakeLogin(FakeAgent);

impl Login for FakeLogin {
    fn start(self: Box<Self>) -> Result<Dialed, ConnectError> {
        self.0.world.lock().unwrap().started.push(self.0.host.clone());
        Ok(Dialed { agent: Box::new(self.0), pushed: false })
    }
}

impl Agent for FakeAgent {
    fn send(&mut self, request: &Request, _: Option<Vec<u8>>) -> Result<(), LinkLost> {
        let mut world = self.world.lock().unwrap();
        if matches!(request, Request::Kubectl { .. }) {
            let stderr = world.complaints.pop_front().unwrap_or_default().to_owned();
            let code = i32::from(!stderr.is_empty());
            let answer = Response::Output { code, stdout: String::new(), stderr };
            self.answers.push_back((Vec::new(), Ok(answer)));
            return Ok(());
        }
        let Request::Run { orders } = request else { panic!("nothing else is asked for here") };
        world.orders.push((self.host.clone(), (**orders).clone()));
        let mut events = Vec::new();
        let mut end = BatchEnd::Finished;
        let mut say =
            |what| events.push(BatchEvent { seq: events.len() as u64 + 1, unix_ms: 0, what });
        for OrderedStep { id, .. } in &orders.steps {
            let step = id.clone();
            say(BatchNews::Started { step: step.clone() });
            if world.failing.contains(id) {
                let error = "it broke".to_owned();
                end = BatchEnd::Failed { step, error };
                break;
            }
            let outputs = [("made".to_owned(), format!("by {}", self.host))].into();
            say(BatchNews::Done { step, changed: true, outputs });
        }
        let mut answer = Ok(Response::Ran(end));
        if let Some(run) = world.busy.clone() {
            events.clear();
            answer = Ok(Response::Ran(BatchEnd::Busy { run }));
        }
        if let Some(count) = world.cut_after.take() {
            events.truncate(count);
            answer = Err(LinkLost("cut".into()));
        }
        if let Some((count, more)) = world.cut_always.filter(|(count, _)| *count < events.len()) {
            events.truncate(count);
            answer = Err(LinkLost("cut".into()));
            world.cut_always = Some((count + more, more));
        }
        self.answers.push_back((events, answer));
        Ok(())
    }

    fn receive(
        &mut self,
        _: Duration,
        hear: &mut dyn FnMut(BatchEvent),
    ) -> Result<Response, LinkLost> {
        let (events, answer) = self.answers.pop_front().expect("something was asked");
        events.into_iter().for_each(hear);
        answer
    }
}

fn host(name: &str) -> Host {
    Host {
        name: name.into(),
        address: "192.0.2.1".into(),
        private_address: None,
        ssh: Ssh::default(),
        roles: vec![Role::Worker],
        labels: Default::default(),
        taints: Vec::new(),
        accept: None,
        firewall: None,
        time: None,
        hostname: None,
        kubelet_args: Default::default(),
    }
}

fn module(host: &str, name: &str) -> (Step, Observed) {
    let goal = Action::Module(Module { name: name.into() });
    (Step::new(Phase::Prepare, host, goal, "test"), Observed::Module(ModuleSeen { present: false }))
}

/// One change on each of two hosts in one phase, one on the first in the next, and one step that is right.
fn steps() -> Vec<(Step, Observed)> {
    let sysctl = |host| {
        let goal =
            Action::Sysctl(Sysctl { key: "a.b".into(), value: "1".into(), ..Sysctl::default() });
        let seen =
            Observed::Sysctl(SysctlSeen { value: Some("1".into()), ..SysctlSeen::default() });
        (Step::new(Phase::Prepare, host, goal, "test"), seen)
    };
    let mut late = module("one", "late");
    late.0.phase = Phase::Runtime;
    vec![module("one", "first"), module("two", "first"), sysctl("two"), late]
}

fn plan(steps: Vec<(Step, Observed)>) -> Plan {
    let seen = steps.iter().map(|(step, seen)| (step.id.clone(), Ok(seen.clone()))).collect();
    let steps = steps.into_iter().map(|(step, _)| step).collect();
    Plan::new("test", false, steps, &seen, Vec::new()).unwrap()
}

/// How many steps changed something, and how it ended.
type Applied = (usize, Result<(), Vec<HostError>>);

/// Applies a plan to the hosts `one` and `two`.
fn apply_to(world: World, plan: &Plan) -> (Applied, World, Vec<Event>) {
    let world = Arc::new(Mutex::new(world));
    let events = Mutex::new(Vec::new());
    let result = {
        let dial = FakeDial(Arc::clone(&world));
        let emit = |event| events.lock().unwrap().push(event);
        let (mut fleet, errors) = Fleet::connect(&dial, &[host("one"), host("two")], &emit);
        assert!(errors.is_empty());
        let (sources, undoes) = (Sources::new(), BTreeMap::new());
        let changed = AtomicUsize::new(0);
        let run = Run {
            name: "run",
            plan,
            sources: &sources,
            undoes: &undoes,
            giver: None,
            emit: &emit,
            changed: &changed,
        };
        let result = apply(&mut fleet, &run);
        (changed.into_inner(), result)
    };
    let world = Arc::into_inner(world).expect("all agents are gone").into_inner().unwrap();
    (result, world, events.into_inner().unwrap())
}

fn batches(world: &World) -> Vec<String> {
    let mut batches: Vec<String> = world
        .orders
        .iter()
        .map(|(host, orders)| format!("{host} {} {}", orders.batch, orders.steps.len()))
        .collect();
    batches[..2].sort();
    batches
}

#[test]
fn phases_are_barriers_and_only_changes_are_ordered() {
    let (result, world, events) = apply_to(World::default(), &plan(steps()));
    assert_eq!(result, (3, Ok(())));
    assert_eq!(batches(&world), ["one prepare 1", "two prepare 1", "one runtime 1"]);
    let phases: Vec<&Event> = events
        .iter()
        .filter(|e| matches!(e, Event::PhaseStarted { .. } | Event::PhaseDone { .. }))
        .collect();
    assert_eq!(phases.len(), 4);
}

#[test]
fn a_failure_lets_the_others_end_their_batch_and_stops_the_run() {
    let world = World { failing: vec!["two/module:first".into()], ..World::default() };
    let (result, world, _) = apply_to(world, &plan(steps()));
    assert_eq!(result.0, 1, "the other host's is counted");
    let errors = result.1.unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].to_string(), "two/module:first: it broke");
    assert_eq!(batches(&world), ["one prepare 1", "two prepare 1"]);
}

#[test]
fn a_cut_link_is_made_anew_and_no_news_is_told_twice() {
    let steps = vec![module("one", "first"), module("one", "second")];
    let world = World { cut_after: Some(3), refused: 2, ..World::default() };
    let (result, world, events) = apply_to(world, &plan(steps));
    assert_eq!(result, (2, Ok(())));
    assert_eq!(world.dials, 5);
    assert_eq!(world.orders.len(), 2);
    assert_eq!(world.orders[0], world.orders[1]);
    let told: Vec<String> = events
        .iter()
        .filter_map(|event| match event {
            Event::Step { news, .. } => Some(format!("{} {}", news.state, news.step)),
            Event::Link { up, .. } => Some(format!("link {up}")),
            _ => None,
        })
        .collect();
    let expected = [
        "started one/module:first",
        "done one/module:first",
        "started one/module:second",
        "link false",
        "link true",
        "done one/module:second",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_link_that_brings_nothing_new_is_given_up_and_one_that_does_is_not() {
    let steps = || (0..8).map(|n| module("one", &format!("m{n}"))).collect();
    let world = World { cut_always: Some((3, 0)), ..World::default() };
    let (result, world, _) = apply_to(world, &plan(steps()));
    let errors = result.1.unwrap_err();
    assert!(matches!(errors[..], [HostError::Lost { .. }]), "{errors:?}");
    assert_eq!(world.orders.len(), 6);
    let world = World { cut_always: Some((1, 1)), ..World::default() };
    let (result, world, _) = apply_to(world, &plan(steps()));
    assert_eq!(result, (8, Ok(())));
    assert_eq!(world.orders.len(), 16);
}

#[test]
fn a_batch_that_fits_into_no_frame_is_not_sent() {
    let name = "x".repeat(kubewan_core::protocol::FRAME_MAX);
    let (result, world, _) = apply_to(World::default(), &plan(vec![module("one", &name)]));
    let errors = result.1.unwrap_err();
    assert_eq!(errors[0].finding().code, "request-too-large");
    assert_eq!((world.orders.len(), world.dials), (0, 2));
}

#[test]
fn another_run_is_named() {
    let world = World { busy: Some("other".into()), ..World::default() };
    let (result, ..) = apply_to(world, &plan(steps()));
    let expected = |host: &str| HostError::Busy { host: host.into(), run: "other".into() };
    assert_eq!(result.1.unwrap_err(), [expected("one"), expected("two")]);
}

#[test]
fn secrets_go_only_where_they_are_asked_for_and_outputs_are_handed_on() {
    let token = Input::Secret { name: "join-token".into() };
    let (maker, seen) = module("one", "maker");
    let output = Input::Output { step: maker.id.clone(), field: "made".into() };
    let goal = Action::BootstrapToken(BootstrapToken { token: token.clone(), ttl_s: 600 });
    let make = Step::new(Phase::Network, "one", goal, "test");
    let goal = Action::KubeadmJoin(KubeadmJoin {
        config: String::new(),
        discovery: String::new(),
        inputs: vec![token.clone(), output.clone()],
        ignore_preflight_errors: Vec::new(),
        node: "two".into(),
        endpoint: "https://api.test.kubewan:6443".into(),
        timeout_s: 300,
        control_plane: false,
        adopts: String::new(),
    });
    let join = Step::new(Phase::Join, "two", goal, "test");
    let steps = vec![
        (maker, seen),
        (make, Observed::BootstrapToken(TokenSeen::default())),
        (join, Observed::KubeadmJoin(JoinSeen::default())),
    ];
    let plan = plan(steps);
    let (result, world, events) = apply_to(World::default(), &plan);
    assert_eq!(result, (3, Ok(())));
    let [(_, prepare), (_, network), (_, join)] = &world.orders[..] else {
        panic!("three batches")
    };
    assert!(prepare.values.is_empty());
    let made = &network.values[&token.marker()];
    assert_eq!(join.values[&token.marker()], *made);
    assert_eq!(join.values[&output.marker()], "by one");
    assert!(join.timeout_s >= BATCH_S + 300);
    let told = serde_json::to_string(&events).unwrap() + &serde_json::to_string(&plan).unwrap();
    assert!(!told.contains(made.as_str()), "the token is in events or plan");
}

#[test]
fn a_host_that_is_missing_leaves_the_others_untouched() {
    let world = World { closed: vec!["one".into()], ..World::default() };
    let dial = FakeDial(Arc::new(Mutex::new(world)));
    let hosts = [host("one"), host("two")];
    let errors = Fleet::connect_all(&dial, &hosts, &|_| ()).err().unwrap();
    assert_eq!(errors.iter().map(|e| e.host.as_str()).collect::<Vec<_>>(), ["one"]);
    assert!(dial.0.lock().unwrap().started.is_empty());
    let (fleet, errors) = Fleet::connect(&dial, &hosts, &|_| ());
    assert_eq!((fleet.names().collect::<Vec<_>>(), errors.len()), (vec!["two"], 1));
    assert_eq!(dial.0.lock().unwrap().started, ["two"]);
}

#[test]
fn control_planes_join_one_after_another_in_the_plans_order() {
    let set = |hosts: &[&str]| hosts.iter().map(|host| (*host).to_owned()).collect();
    let order = ["two", "one"];
    assert_eq!(turns(Phase::JoinControlPlanes, &order), [set(&["two"]), set(&["one"])]);
    assert_eq!(turns(Phase::Join, &order), [set(&["one", "two"])]);
}

#[test]
fn a_busy_api_is_asked_again_and_a_refusal_is_not() {
    let late = "Error from server (Timeout): the server was unable to return a response in the time allotted";
    let refusal = "Error from server (Forbidden): nodes is forbidden";
    let ask = |complaints: &[&'static str]| {
        let complaints = complaints.iter().copied().collect();
        let world = Arc::new(Mutex::new(World { complaints, ..World::default() }));
        let dial = FakeDial(Arc::clone(&world));
        let (mut fleet, _) = Fleet::connect(&dial, &[host("one")], &|_| ());
        let output = fleet.member("one").unwrap().kubectl(&["get", "nodes"], None, 1).unwrap();
        let left = world.lock().unwrap().complaints.len();
        (output.code, output.stderr, left)
    };
    assert_eq!(ask(&[late, late]), (0, String::new(), 0));
    assert_eq!(ask(&[late, late, late, late]), (1, late.into(), 1));
    assert_eq!(ask(&[refusal, late]), (1, refusal.into(), 1));
}
