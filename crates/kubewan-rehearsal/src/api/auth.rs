//! Who asks, and what he may do.

use serde_json::Value;

use super::store::Store;
use crate::token;
use crate::value::Res;

/// A user and his groups.
#[derive(Debug, Clone)]
pub struct User {
    /// His name.
    pub name: String,
    /// His groups.
    pub groups: Vec<String>,
}

impl User {
    /// Someone without a certificate or token.
    pub fn anonymous() -> User {
        User { name: "system:anonymous".into(), groups: vec!["system:unauthenticated".into()] }
    }

    fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch` or `delete`.
    pub verb: &'a str,
    /// Plural name, with `/status` and the like.
    pub resource: &'a str,
    /// The namespace or "".
    pub namespace: &'a str,
    /// The object's name or "".
    pub name: &'a str,
}

/// The user of a bootstrap token; `None`: unknown, expired, or not for authentication.
pub fn bearer(store: &Store, bearer: &str) -> Res<Option<User>> {
    let Ok((id, secret)) = token::parse(bearer) else { return Ok(None) };
    let key = format!("/registry/secrets/kube-system/bootstrap-token-{id}");
    let Some(stored) = store.get(&key)? else { return Ok(None) };
    let usable = token::data(&stored, "token-secret") == secret
        && token::data(&stored, "usage-bootstrap-authentication") == "true"
        && !token::expired(&stored);
    let mut groups = vec!["system:bootstrappers".to_owned(), "system:authenticated".to_owned()];
    let extra = token::data(&stored, "auth-extra-groups");
    groups.extend(extra.split(',').filter(|g| !g.is_empty()).map(str::to_owned));
    Ok(usable.then(|| User { name: format!("system:bootstrap:{id}"), groups }))
}

/// Whether a user may do that: the rules that kubeadm and Kubernetes' own roles come to, not RBAC itself.
pub fn allowed(store: &Store, user: &User, ask: Ask<'_>) -> Res<bool> {
    let read = matches!(ask.verb, "get" | "list" | "watch");
    let config_map = |namespace, names: &[&str]| {
        ask.verb == "get"
            && ask.resource == "configmaps"
            && ask.namespace == namespace
            && names.contains(&ask.name)
    };
    if user.is_in("system:masters")
        || ["system:kube-controller-manager", "system:kube-scheduler"].contains(&user.name.as_str())
    {
        return Ok(true);
    }
    // kubeadm binds its administrators to cluster-admin; before that, admin.conf is refused as in life.
    if user.is_in("kubeadm:cluster-admins") {
        let binding: Option<Value> =
            store.get("/registry/clusterrolebindings/kubeadm:cluster-admins")?;
        return Ok(binding.is_some());
    }
    if config_map("kube-public", &["cluster-info"]) {
        return Ok(true);
    }
    if user.is_in("system:nodes") {
        let own = user.name.trim_start_matches("system:node:");
        return Ok(match ask.resource {
            "nodes" | "nodes/status" => read || ask.name.is_empty() || ask.name == own,
            "secrets" => false,
            "pods" | "pods/status" | "events" | "leases" => true,
            "certificatesigningrequests" => read || ask.verb == "create",
            _ => read,
        });
    }
    if user.is_in("system:bootstrappers") {
        return Ok(config_map("kube-system", &["kubeadm-config", "kubelet-config", "kube-proxy"])
            || (ask.resource == "nodes" && ask.verb == "get")
            || (ask.resource == "certificatesigningrequests" && (read || ask.verb == "create")));
    }
    Ok(false)
}
