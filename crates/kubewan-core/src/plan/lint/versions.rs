//! The version of Kubernetes itself: whether it is kept up, and its registry.

use crate::finding::Finding;
use crate::plan::planner::View;
use crate::versions::{FORMER_REGISTRY, REGISTRY, RELEASES, Version};

/// A release that gets no more patches.
pub(super) fn end_of_life(view: &View) -> Option<Finding> {
    let release = view.inventory.release();
    if !release.is_ended() {
        return None;
    }
    let minor = release.minor;
    let last = Version { major: 1, minor, patch: release.last_patch };
    let message = format!(
        "Kubernetes 1.{minor} ended on {} with {last}: what is found in it since stays open, and it is open to everyone \
         who reaches this cluster over the Internet",
        release.end_of_life
    );
    let kept: Vec<u32> = RELEASES.iter().filter(|r| !r.is_ended()).map(|r| r.minor).collect();
    let kept = match (kept.first(), kept.last()) {
        (Some(first), Some(last)) => format!("one that is kept up (1.{first} to 1.{last})"),
        _ => "one that is kept up".to_owned(),
    };
    let remedy = if view.inventory.version() < last {
        format!(
            "take {kept}; where something needs 1.{minor}, take the last of it: `version: \"{last}\"`"
        )
    } else {
        format!("take {kept}")
    };
    Some(Finding::warning("end-of-life", "", message, remedy).for_cluster())
}

/// Images that are asked for under the registry's former name.
pub(super) fn former_registry(view: &View) -> Option<Finding> {
    let repository = &view.inventory.kubernetes.image_repository;
    (**repository == *FORMER_REGISTRY).then(|| {
        let message = format!(
            "`kubernetes.imageRepository` is {FORMER_REGISTRY}, where nothing was put since 2023-04-03: it has no images of \
             Kubernetes 1.27 or later, and of older ones what it had, as long as it answers"
        );
        let remedy = format!("take the key out, or say {REGISTRY}: it has all of them");
        Finding::warning("registry-frozen", "", message, remedy).for_cluster()
    })
}
