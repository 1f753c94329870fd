//! Drives the lab by hand, for work on the lab itself; users have `kubewan lab`.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;
use std::time::Instant;

use kubewan_lab::topology::Spec;
use kubewan_lab::{
    Distribution, ImageChoice, Lab, LabError, LabEvent, LabOptions, NetworkStack, leftovers,
    make_image, rehearsal_bundle,
};

const USAGE: &str = "\
usage: drive up [HOSTS [DIR]] | ls | info | leftovers | down
       drive exec HOST PROGRAM ARGUMENT... | ssh HOST ARGUMENT...
       drive reboot HOST | rewind [HOST...] | cut HOST | heal HOST | spoofed | look HOST
       drive rehearsal-bundle PROGRAM [DISTRIBUTION...] | image DISTRIBUTION [STACK]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match drive(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn drive(arguments: &[&str]) -> Result<(), LabError> {
    let start = Instant::now();
    let mut show = |event: LabEvent| eprintln!("{:6.2}s {event:?}", start.elapsed().as_secs_f64());
    match arguments {
        ["up", rest @ ..] => {
            let mut options = LabOptions::default();
            if let Some(hosts) = rest.first().and_then(|hosts| hosts.parse().ok()) {
                options.topology = Spec::usual(hosts);
            }
            if let Some(dir) = rest.get(1) {
                options.dir = dir.into();
            }
            let lab = Lab::up(&options, &mut show)?;
            eprintln!("up after {:.2}s", start.elapsed().as_secs_f64());
            println!("{:#?}", lab.info()?.kernel);
        }
        ["ls"] => {
            for status in Lab::open("lab")?.list()? {
                let host = status.host;
                println!(
                    "{} {} {} cloud {} ({}) running={} cut={}",
                    host.name,
                    host.address,
                    host.private,
                    host.cloud,
                    host.cloud_behaviour,
                    status.running,
                    status.cut
                );
            }
        }
        ["info"] => println!("{:#?}", Lab::open("lab")?.info()?),
        ["leftovers"] => leftovers(None).iter().for_each(|left| println!("{left}")),
        ["down"] => println!("there was one: {}", Lab::down("lab", &mut show)?),
        ["exec", host, argv @ ..] => {
            let error = Lab::open("lab")?.exec_command(host, argv)?.exec();
            eprintln!("error: {error}");
        }
        ["ssh", host, argv @ ..] => {
            let command = Lab::open("lab")?.ssh_command(host)?;
            let error =
                std::process::Command::new(&command[0]).args(&command[1..]).args(argv).exec();
            eprintln!("error: {error}");
        }
        ["rehearsal-bundle", program, distributions @ ..] => {
            let distributions: Vec<Distribution> =
                distributions.iter().filter_map(|name| name.parse().ok()).collect();
            let folder = rehearsal_bundle(&distributions, program.as_ref(), &mut show)?;
            println!("{} after {:.2}s", folder.display(), start.elapsed().as_secs_f64());
        }
        ["image", distribution, stack @ ..] => {
            let stack = stack.first().copied().unwrap_or(NetworkStack::default().name());
            let network = NetworkStack::ALL.into_iter().find(|s| s.name() == stack);
            match (distribution.parse::<Distribution>(), network) {
                (Ok(distribution), Some(network)) => {
                    let folder = make_image(ImageChoice { distribution, network }, &mut show)?;
                    println!("{}", folder.display());
                }
                _ => eprintln!("{USAGE}"),
            }
        }
        ["reboot", host] => Lab::open("lab")?.reboot(host, &mut show)?,
        ["rewind", hosts @ ..] => Lab::open("lab")?.rewind(hosts, &mut show)?,
        ["cut", host] => Lab::open("lab")?.cut(host)?,
        ["heal", host] => Lab::open("lab")?.heal(host)?,
        ["spoofed"] => println!("{:?}", Lab::open("lab")?.spoof_counters()?),
        ["look", host] => {
            for (item, value) in Lab::open("lab")?.observe_host(host)?.items {
                println!("{item}: {value}");
            }
        }
        _ => eprintln!("{USAGE}"),
    }
    Ok(())
}
