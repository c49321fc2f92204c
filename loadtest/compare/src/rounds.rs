//! The rounds: each system in turn, so that a slow moment of the machine meets all of them alike.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::Failure;
use crate::ledger;
use crate::load::{self, Load};
use crate::procfs::Processes;
use crate::service::{Service, Setup};
use crate::system::System;
use crate::workload::Workload;

/// Load before each measurement, to fill pools and caches.
const WARM_UP: Duration = Duration::from_millis(300);

/// What to measure.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    /// Of one measurement.
    pub(crate) duration: Duration,
    pub(crate) connections: usize,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) systems: Vec<System>,
    /// Requests a second; as many as go through if there is none.
    pub(crate) rate: Option<f64>,
}

/// One system under one workload in one round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measurement {
    pub(crate) round: u32,
    pub(crate) workload: Workload,
    #[serde(rename = "proxy")]
    pub(crate) system: System,
    pub(crate) requests: usize,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// CPU seconds of the proxy's processes a thousand requests. `None` without a proxy.
    pub(crate) cpu_seconds_per_1000: Option<f64>,
    /// Share of the measurement for which the simulator's only thread was busy. Near 1, rate and
    /// latency are the simulator's limit and say nothing of the proxy.
    pub(crate) simulator_busy: f64,
    /// The same of the load generator.
    pub(crate) generator_busy: f64,
    /// Resident memory after the measurement, in bytes. `None` without a proxy.
    pub(crate) rss_bytes: Option<u64>,
}

/// Starts everything and measures.
///
/// # Errors
/// When something does not start, or answers otherwise than it should.
pub(crate) async fn measure(plan: &Plan, setup: &Setup) -> Result<Vec<Measurement>, Failure> {
    let simulator = Service::simulator(setup).await?;
    let provider = Provider { address: simulator.address, processes: simulator.processes()? };
    let generator = Processes::of_this_program()?;
    let mut subjects = Vec::new();
    for system in &plan.systems {
        let service = Service::system(system, simulator.address, setup).await?;
        subjects.push(Subject::new(system.clone(), service, simulator.address)?);
    }
    let mut measurements = Vec::new();
    for round in 0..plan.rounds {
        for workload in &plan.workloads {
            // Another one starts each round: no one always follows the same neighbour's heat.
            subjects.rotate_left(1);
            for subject in &subjects {
                measurements
                    .push(subject.measure(round, *workload, plan, &provider, &generator).await?);
            }
        }
        eprintln!("round {} of {} done", round + 1, plan.rounds);
    }
    Ok(measurements)
}

/// The simulator, asked before and after each measurement.
struct Provider {
    address: SocketAddr,
    processes: Processes,
}

/// A proxy that runs, or the simulator itself.
struct Subject {
    system: System,
    address: SocketAddr,
    running: Option<(Service, Processes)>,
}

impl Subject {
    fn new(
        system: System,
        service: Option<Service>,
        upstream: SocketAddr,
    ) -> Result<Self, Failure> {
        let running = match service {
            Some(service) => {
                let processes = service.processes()?;
                Some((service, processes))
            }
            None => None,
        };
        let address = running.as_ref().map_or(upstream, |(service, _)| service.address);
        Ok(Self { system, address, running })
    }

    async fn measure(
        &self,
        round: u32,
        workload: Workload,
        plan: &Plan,
        provider: &Provider,
        generator: &Processes,
    ) -> Result<Measurement, Failure> {
        let load = Load {
            request: workload.request(self.address, self.system.credential()).into(),
            connections: plan.connections,
            duration: plan.duration,
            rate: plan.rate,
        };
        let failure = |source| Failure::Measurement {
            proxy: self.system.name().to_owned(),
            workload: workload.name(),
            source,
            log: self.last_words(),
        };
        let warm_up = Load { duration: WARM_UP, ..load.clone() };
        load::run(self.address, warm_up).await.map_err(failure)?;
        let served_before = ledger::read(provider.address).await.map_err(failure)?.requests;
        let provider_before = provider.processes.cpu()?;
        let generator_before = generator.cpu()?;
        let cpu_before = self.cpu()?;
        let sample = load::run(self.address, load).await.map_err(failure)?;
        let cpu = self.cpu()?.zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
        let generator_cpu = generator.cpu()?.saturating_sub(generator_before);
        let provider_cpu = provider.processes.cpu()?.saturating_sub(provider_before);
        let served =
            ledger::read(provider.address).await.map_err(failure)?.requests - served_before;
        let replies = sample.requests() as u64;
        // One request each, no more and no less: a proxy that answers by itself, or asks twice, would
        // not be measured at the same work.
        if served != replies {
            let (proxy, workload) = (self.system.name().to_owned(), workload.name());
            return Err(Failure::Unforwarded { proxy, workload, replies, served });
        }
        let thousands = sample.requests() as f64 / 1000.0;
        Ok(Measurement {
            round,
            workload,
            system: self.system.clone(),
            requests: sample.requests(),
            requests_per_second: sample.rate(),
            p50_us: sample.latency(0.5),
            p99_us: sample.latency(0.99),
            cpu_seconds_per_1000: cpu.map(|cpu| cpu.as_secs_f64() / thousands),
            simulator_busy: provider_cpu.div_duration_f64(sample.elapsed),
            generator_busy: generator_cpu.div_duration_f64(sample.elapsed),
            rss_bytes: self.running.as_ref().map(|(_, processes)| processes.rss()).transpose()?,
        })
    }

    fn cpu(&self) -> Result<Option<Duration>, Failure> {
        Ok(self.running.as_ref().map(|(_, processes)| processes.cpu()).transpose()?)
    }

    fn last_words(&self) -> String {
        let words = self.running.as_ref().map(|(service, _)| service.last_words());
        words
            .filter(|words| !words.is_empty())
            .map_or_else(String::new, |words| format!("\n{words}"))
    }
}
