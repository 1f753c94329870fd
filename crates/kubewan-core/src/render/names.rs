//! Names in /etc/hosts, and cloud-init's leave to keep them.

use std::net::Ipv4Addr;

/// Lines of kubewan's block in /etc/hosts: every node by name, and the API's name with the addresses that programs try
/// one after another.
pub fn hosts_block(nodes: &[(&str, Ipv4Addr)], api_name: &str, apis: &[Ipv4Addr]) -> Vec<String> {
    let nodes = nodes.iter().map(|(name, address)| format!("{address} {name}"));
    nodes.chain(apis.iter().map(|address| format!("{address} {api_name}"))).collect()
}

/// `/etc/cloud/cloud.cfg.d/99-kubewan.cfg`: cloud-init rewrites /etc/hosts (and, where hosts are renamed, the
/// host name) at every boot unless told not to (cloud-init docs, `cc_update_etc_hosts`, `cc_update_hostname`).
pub fn cloud_init(keep_hostname: bool) -> String {
    let mut text = String::from(
        "# Written by kubewan: its names in /etc/hosts outlive a reboot.\nmanage_etc_hosts: false\n",
    );
    if keep_hostname {
        text.push_str("preserve_hostname: true\n");
    }
    text
}
