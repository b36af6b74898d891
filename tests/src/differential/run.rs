//! Drives two servers through one sequence, the subject behind the reference.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Context;
use tokio::sync::mpsc;

use super::answer::Answer;
use super::compare::compare;
use super::fault::Fault;
use super::generate::Generator;
use super::op::Op;
use super::show::{compact, first_difference};
use super::target::Target;
use crate::allowed;

// How far the reference may run ahead.
const AHEAD_MAX: usize = 512;

/// An operation that the subject answered otherwise than it should.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Its place in the sequence, from 0.
    pub number: usize,
    /// The operation.
    pub op: Op,
    /// What the reference answered, less what may differ.
    pub reference: Answer,
    /// What the subject answered, less what may differ.
    pub subject: Answer,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "operation {}: {}", self.number, compact(&self.op))?;
        write!(f, "{}", first_difference(&self.reference, &self.subject))
    }
}

/// What a run did.
#[derive(Debug, Default)]
pub struct Report {
    /// Every operation that the subject performed and both answers, in order.
    pub history: Vec<(Op, Answer, Answer)>,
    /// The first difference; the run ends with it.
    pub difference: Option<Difference>,
}

impl Report {
    /// How often each kind of operation was performed, and each refusal seen.
    #[must_use]
    pub fn coverage(&self) -> BTreeMap<String, usize> {
        let mut seen = BTreeMap::new();
        for (op, reference, _) in &self.history {
            *seen.entry(op.kind()).or_default() += 1;
            if let Answer::Refused(refusal) = reference {
                *seen.entry(format!("{}: {}", refusal.code, refusal.text)).or_default() += 1;
            }
        }
        seen
    }

    /// Everything that was asked and answered.
    #[must_use]
    pub fn transcript(&self) -> String {
        let mut out = String::new();
        for (number, (op, reference, subject)) in self.history.iter().enumerate() {
            let (op, want, got) = (compact(op), compact(reference), compact(subject));
            out.push_str(&format!("{number} {op}\n  reference: {want}\n  subject:   {got}\n"));
        }
        out
    }

    /// Every operation that was performed, one to a line.
    #[must_use]
    pub fn listing(ops: &[Op]) -> String {
        ops.iter().map(|op| format!("  {}\n", compact(op))).collect()
    }

    /// The operations up to and with the difference.
    #[must_use]
    pub fn ops(&self) -> Vec<Op> {
        self.history.iter().map(|(op, ..)| op.clone()).collect()
    }
}

/// Performs `count` operations of the generator on both, up to the first
/// difference. `fault` spoils the subject's answers, to test the comparison.
///
/// # Errors
/// When a task of the run itself fails.
pub async fn run(
    reference: Target,
    subject: Target,
    generator: Generator,
    count: usize,
    fault: Option<Fault>,
) -> anyhow::Result<Report> {
    let (answered, queue) = mpsc::channel(AHEAD_MAX);
    let ahead = tokio::spawn(lead(reference, generator, count, answered));
    let report = follow(subject, queue, fault).await;
    // It ends when its queue is gone, if it has not ended before.
    ahead.await.context("the reference's task")?;
    Ok(report)
}

/// Performs exactly these operations on both, up to the first difference.
pub async fn replay(mut reference: Target, subject: Target, ops: Vec<Op>) -> Report {
    let (answered, queue) = mpsc::channel(AHEAD_MAX);
    let ahead = async move {
        for op in ops {
            let answer = ask_reference(&mut reference, &op).await;
            if answered.send((op, answer)).await.is_err() {
                return;
            }
        }
    };
    let ((), report) = tokio::join!(ahead, follow(subject, queue, None));
    report
}

async fn lead(
    mut reference: Target,
    mut generator: Generator,
    count: usize,
    answered: mpsc::Sender<(Op, Answer)>,
) {
    for _ in 0..count {
        let op = generator.next_op();
        let answer = ask_reference(&mut reference, &op).await;
        generator.observe(&op, &answer);
        if answered.send((op, answer)).await.is_err() {
            return;
        }
    }
}

async fn ask_reference(reference: &mut Target, op: &Op) -> Answer {
    match allowed::contract_answer(op) {
        Some(answer) => answer,
        None => reference.perform(op).await,
    }
}

async fn follow(
    mut subject: Target,
    mut queue: mpsc::Receiver<(Op, Answer)>,
    mut fault: Option<Fault>,
) -> Report {
    let mut report = Report::default();
    while let Some((op, want)) = queue.recv().await {
        let number = report.history.len();
        let mut got = subject.perform(&op).await;
        if fault.as_mut().is_some_and(|fault| fault.strike(number, &mut got)) {
            fault = None;
        }
        let difference = compare(&op, &want, &got);
        report.history.push((op.clone(), want, got));
        if let Some((reference, subject)) = difference {
            report.difference = Some(Difference { number, op, reference, subject });
            break;
        }
    }
    report
}
