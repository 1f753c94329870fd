//! The smoke image: one layer with one static program, as a docker archive, which containerd imports in every version.

use serde_json::json;

use crate::program::Program;
use crate::tar::tar;

/// An image's reference and its archive. The same program gives the same bytes.
pub fn archive(program: &Program, arch: &str) -> (String, Vec<u8>) {
    let reference = format!("kubewan.local/smoke:{}", &program.sha256[..12]);
    let layer = tar(&[("kubewan", &program.bytes, 0o755)]);
    let diff_id = format!("sha256:{}", kubewan_core::sha256_hex(&layer));
    let config = json!({
        "architecture": arch,
        "os": "linux",
        "config": { "Entrypoint": ["/kubewan", "smoke-server"] },
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
    })
    .to_string();
    let config_name = format!("{}.json", kubewan_core::sha256_hex(config.as_bytes()));
    let manifest =
        json!([{ "Config": config_name, "RepoTags": [reference], "Layers": ["layer.tar"] }])
            .to_string();
    let archive = tar(&[
        ("manifest.json", manifest.as_bytes(), 0o644),
        (&config_name, config.as_bytes(), 0o644),
        ("layer.tar", &layer, 0o644),
    ]);
    (reference, archive)
}
