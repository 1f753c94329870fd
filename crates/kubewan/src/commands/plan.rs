//! `kubewan plan`: what would be done.

use crate::args::{Output, PlanArgs};
use crate::cluster::Cluster;
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report::plan_view::{self, PlanDocument};
use crate::report::{self, json, progress::Progress};
use crate::site::Site;

/// Shows the plan.
pub fn run(args: &PlanArgs) -> Result<Code, Failure> {
    let site = Site::read(&args.file.file)?;
    let bundle = site.bundle()?;
    // Before anybody is connected to; they are read again when they are used.
    site.registries()?;
    let dial = site.dial();
    // The answer is one document, so what happens on the way is told to people only.
    let mut cluster = {
        let progress = Progress::new(Output::Table, &site.inventory.hosts);
        Cluster::open(&site, &dial, &|event| progress.hear(&event))?
    };
    let supply = cluster.supply(bundle)?;
    let plan = cluster.plan(&supply)?;
    match args.output {
        Output::Json => json::document(&PlanDocument::new(&plan)),
        Output::Table => report::rehearsal(plan.rehearsal, || {
            report::data(&plan_view::text(&plan));
        }),
    }
    report::findings(&plan.findings);
    Ok(match (plan.is_refused(), plan.is_empty()) {
        (true, _) => Code::Refused,
        (false, false) if args.detailed_exitcode => Code::Changes,
        _ => Code::Done,
    })
}
