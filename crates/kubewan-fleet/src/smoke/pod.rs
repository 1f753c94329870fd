//! What runs inside the smoke pods: a server that answers with its pod's nonce, and a client that asks others.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{dns, http};

/// One line of the client's output.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    question: String,
    answer: Result<String, String>,
}

/// `kubewan smoke-server [PORT]`: answers every request with the pod's nonce. Returns the exit code.
pub fn server(args: &[String]) -> u8 {
    let port = args.first().and_then(|port| port.parse::<u16>().ok()).unwrap_or(80);
    let variable = |name| std::env::var(name).unwrap_or_default();
    let body = format!("kubewan-smoke {} {}\n", variable("NONCE"), variable("NODE"));
    let listener = match TcpListener::bind(("0.0.0.0", port)) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("can't listen on port {port}: {error}");
            return 1;
        }
    };
    // `kubectl logs` is proved by this line.
    print!("{body}");
    let _ = std::io::stdout().flush();
    for stream in listener.incoming().flatten() {
        let body = body.clone();
        thread::spawn(move || answer(stream, &body));
    }
    0
}

fn answer(mut stream: TcpStream, body: &str) {
    let patience = Some(Duration::from_secs(5));
    let _ = stream.set_read_timeout(patience).and_then(|()| stream.set_write_timeout(patience));
    let mut request = [0; 1024];
    if !matches!(stream.read(&mut request), Ok(1..)) {
        return;
    }
    let length = body.len();
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    let _ = stream.write_all(answer.as_bytes());
}

/// `kubewan smoke-client SECONDS QUESTION…`: asks `http://…` and `dns:NAME`, all at once, each for so long until it is
/// answered, and prints one line of JSON per question in their order. Returns the exit code.
pub fn client(args: &[String]) -> u8 {
    let Some((seconds, questions)) = args.split_first() else { return 64 };
    let Ok(seconds) = seconds.parse() else { return 64 };
    let answers: Vec<Answer> = thread::scope(|scope| {
        let asked: Vec<_> = questions
            .iter()
            .map(|question| (question, scope.spawn(move || ask(question, seconds))))
            .collect();
        let answer = |asked: thread::ScopedJoinHandle<Result<String, String>>| {
            asked.join().unwrap_or(Err("the question could not be asked".into()))
        };
        asked
            .into_iter()
            .map(|(question, asked)| Answer { question: question.clone(), answer: answer(asked) })
            .collect()
    });
    for answer in answers {
        println!("{}", serde_json::to_string(&answer).unwrap_or_default());
    }
    0
}

fn ask(question: &str, seconds: u64) -> Result<String, String> {
    let Some(name) = question.strip_prefix("dns:") else { return http::get(question, seconds) };
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        match dns::resolve(name) {
            Ok(address) => return Ok(address.to_string()),
            Err(said) if Instant::now() > deadline => return Err(said),
            Err(_) => thread::sleep(Duration::from_millis(500)),
        }
    }
}

/// Reads the client's output.
pub fn answers(output: &str) -> Vec<Result<String, String>> {
    output
        .lines()
        .filter_map(|line| serde_json::from_str::<Answer>(line).ok())
        .map(|answer| answer.answer)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_lines_are_read_back() {
        let line =
            |answer| serde_json::to_string(&Answer { question: "q".into(), answer }).unwrap();
        let output = format!(
            "{}\nnoise\n{}\n",
            line(Ok("kubewan-smoke uid node01".into())),
            line(Err("refused".into()))
        );
        let read = answers(&output);
        assert_eq!(read, [Ok("kubewan-smoke uid node01".into()), Err("refused".into())]);
    }

    #[test]
    fn wrong_arguments_are_usage() {
        assert_eq!(client(&[]), 64);
        assert_eq!(client(&["soon".into()]), 64);
    }
}
