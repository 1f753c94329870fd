//! Questions as OpenSSH 8.4 to 9.2 asks them, and who gets which answer.

use super::*;
use crate::operator::tests::Typist;

fn door(may_ask: bool, typist: &Arc<Typist>) -> (Arc<Door>, Arc<Keyring>) {
    let keyring = Arc::new(Keyring::new(Some(typist.clone())));
    let login = Some("admin@kubewan-node01".to_owned());
    (Door::new("node01", "admin@198.51.100.20", login, may_ask, &keyring), keyring)
}

fn question(door: &Door, prompt: &str) -> Question {
    Question { word: door.word.clone(), prompt: prompt.into(), hint: String::new() }
}

fn answered(door: &Door, prompt: &str) -> Option<String> {
    match door.answer(&question(door, prompt)) {
        Answer::Secret(secret) => Some(secret.reveal().to_owned()),
        _ => None,
    }
}

#[test]
fn prompts_are_understood() {
    let own = |text: &str| text.to_owned();
    let cases = [
        ("admin@198.51.100.20's password: ", Asked::Password(own("admin@198.51.100.20"))),
        ("(admin@198.51.100.20) Password: ", Asked::Password(own("admin@198.51.100.20"))),
        (
            "(admin@198.51.100.20) Verification code: ",
            Asked::Other(Some(own("admin@198.51.100.20")), own("Verification code")),
        ),
        ("Password: ", Asked::Other(None, own("Password"))),
        // Only ssh's own words name a login: a server that says these asks something else.
        (
            "(admin@a) root@b's password: ",
            Asked::Other(Some(own("admin@a")), own("root@b's password")),
        ),
        ("Enter passphrase for key '/root/.ssh/id_rsa': ", Asked::Key(own("/root/.ssh/id_rsa"))),
        ("Enter PIN for ED25519-SK key /k: ", Asked::Key(own("Enter PIN for ED25519-SK key /k"))),
        (
            "The authenticity of host 'b (192.0.2.1)' can't be established.\nED25519 key fingerprint is SHA256:x.\n\
             Are you sure you want to continue connecting (yes/no/[fingerprint])? ",
            Asked::HostKey,
        ),
        ("(a@b) \x1b[2JPIN\x07", Asked::Other(Some(own("a@b")), own("[2JPIN"))),
    ];
    for (prompt, asked) in cases {
        assert_eq!(understand(prompt), asked, "{prompt}");
    }
}

#[test]
fn a_wrong_password_is_asked_again_and_three_are_enough() {
    let typist = Typist::new(&["one", "two", "three", "four"]);
    let (door, keyring) = door(true, &typist);
    let prompt = "admin@kubewan-node01's password: ";
    for word in ["one", "two", "three"] {
        assert_eq!(answered(&door, prompt).unwrap(), word);
    }
    assert_eq!(answered(&door, prompt), None);
    assert_eq!(door.talk().refused, Some(Refused::Wrong));
    assert!(keyring.get(&Subject::Login("node01".into())).is_none());
    assert!(!keyring.broke_off());
}

#[test]
fn what_is_known_is_not_asked_and_what_is_not_is_refused_where_nobody_may_be_asked() {
    let typist = Typist::new(&["right"]);
    let (first, keyring) = door(true, &typist);
    let prompt = "(admin@kubewan-node01) Password: ";
    assert_eq!(answered(&first, prompt).unwrap(), "right");
    let again = Door::new("node01", "x", Some("admin@kubewan-node01".into()), false, &keyring);
    assert_eq!(answered(&again, prompt).unwrap(), "right");
    // Asked twice over one connection: it is right no more.
    assert_eq!(answered(&again, prompt), None);
    let asks = "node01: password of x".to_owned();
    assert_eq!(again.talk().refused, Some(Refused::Secret(asks)));
    assert_eq!(typist.asked.lock().unwrap().len(), 1);
}

#[test]
fn a_jump_host_gets_its_own_password() {
    let typist = Typist::new(&["jumps", "hosts"]);
    let (door, keyring) = door(true, &typist);
    assert_eq!(answered(&door, "me@bastion's password: ").unwrap(), "jumps");
    assert_eq!(answered(&door, "admin@kubewan-node01's password: ").unwrap(), "hosts");
    let other = Door::new("node02", "x", None, false, &keyring);
    assert_eq!(answered(&other, "me@bastion's password: ").unwrap(), "jumps");
    assert_eq!(answered(&other, "admin@kubewan-node01's password: "), None);
}

#[test]
fn sudo_tries_the_logins_password_first() {
    let typist = Typist::new(&["login", "for sudo"]);
    let (door, keyring) = door(true, &typist);
    answered(&door, "admin@kubewan-node01's password: ").unwrap();
    assert_eq!(door.sudo().unwrap().reveal(), "login");
    assert_eq!(door.sudo().unwrap().reveal(), "for sudo");
    assert_eq!(keyring.get(&Subject::Login("node01".into())).unwrap().reveal(), "login");
    let asked = typist.asked.lock().unwrap().clone();
    let again = "node01: password for sudo of admin@198.51.100.20; that was wrong, again: ";
    assert_eq!(asked, ["node01: password of admin@198.51.100.20: ", again]);
}

#[test]
fn host_keys_are_never_accepted_here() {
    let typist = Typist::new(&["yes"]);
    let (door, _) = door(true, &typist);
    let prompt = "Are you sure you want to continue connecting (yes/no)? ";
    assert_eq!(answered(&door, prompt), None);
    assert_eq!(door.talk().refused, Some(Refused::HostKey(prompt.into())));
    assert!(typist.asked.lock().unwrap().is_empty());
}

#[test]
fn the_socket_answers_whom_it_knows() {
    let typist = Typist::new(&["secret"]);
    let (door, _) = door(true, &typist);
    let askpass = Askpass::open().unwrap();
    let folder = askpass.socket.parent().unwrap().to_owned();
    let mode = std::os::unix::fs::PermissionsExt::mode(&folder.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    let prompt = "admin@kubewan-node01's password: ";
    let admitted = askpass.admit(&door);
    let variable = admitted.environment[2].1.clone();
    assert_eq!(ask(&variable, prompt).unwrap().unwrap().reveal(), "secret");
    let stranger = format!("0000 {}", askpass.socket.display());
    assert!(ask(&stranger, prompt).is_err());
    drop(admitted);
    assert!(ask(&variable, prompt).is_err());
    drop(askpass);
    assert!(!folder.exists());
}
