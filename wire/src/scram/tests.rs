use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

use super::*;

const NONCE: &[u8] = b"eighteen random by";

/// Runs a whole login; `binding` is the client's view of the channel.
fn login(server: &mut ServerScram, mechanism: &str, password: &str, binding: ChannelBinding) -> Result<(), ScramError> {
    let mut client = ScramSha256::new(password.as_bytes(), binding);
    let first = server.on_client_first(mechanism, client.message(), NONCE)?;
    client.update(&first).expect("the client takes the challenge");
    let last = server.on_client_final(client.message())?;
    client.finish(&last).expect("the client takes the server's signature");
    Ok(())
}

/// Verifiers that PostgreSQL 15 made.
const STORED: &[(&str, &str)] = &[
    (
        "pencil",
        "SCRAM-SHA-256$4096:25mAnch3/CyaKOahz41GNA==$BwiYCfkI5sahQlovI07sGJm5sETmaTk6aOOL+NZM/KA=:5P7BTtPVqEo3nyik/gSGkHhwJapZYamYQZs7uTCsk08=",
    ),
    (
        // SASLprep turns the no-break space into a space, and the Roman numeral into IX.
        "caf\u{e9} \u{a0}\u{2168}",
        "SCRAM-SHA-256$4096:UnOFuQRtpZn0gvlhHxwXEg==$4nHSTvmro6jD24Foy8lC7lgdYx1OfCBQyiKRjdY10mk=:sOpoDSJC0jBeDh7dp6cSun7Y8ouTikLtziWU35oYFA8=",
    ),
];

#[test]
fn makes_the_verifiers_that_postgresql_makes() {
    for (password, stored) in STORED {
        let salt = stored.parse::<Verifier>().expect("a verifier").salt;
        assert_eq!(make_verifier(password, &salt, 4096), *stored);
    }
}

#[test]
fn logs_in_with_the_right_password_only() {
    for (password, stored) in STORED {
        let mut server = ServerScram::new(stored).expect("a verifier");
        assert_eq!(server.mechanisms(), [SCRAM_SHA_256]);
        assert_eq!(login(&mut server, SCRAM_SHA_256, password, ChannelBinding::unsupported()), Ok(()));
        let mut server = ServerScram::new(stored).expect("a verifier");
        let wrong = login(&mut server, SCRAM_SHA_256, "pencils", ChannelBinding::unsupported());
        assert_eq!(wrong, Err(ScramError::Failed));
    }
}

#[test]
fn an_unknown_role_is_challenged_and_fails() {
    let challenge = |role: &str| {
        let mut server = ServerScram::mock(role, b"secret");
        let first = server.on_client_first(SCRAM_SHA_256, b"n,,n=,r=abc", NONCE).expect("a challenge");
        String::from_utf8(first).expect("ASCII")
    };
    assert_eq!(challenge("nobody"), challenge("nobody"), "the salt must not give the mock away");
    assert_ne!(challenge("nobody"), challenge("nobody else"));
    assert!(challenge("nobody").ends_with(",i=4096"));
    let mut server = ServerScram::mock("nobody", b"secret");
    assert_eq!(login(&mut server, SCRAM_SHA_256, "", ChannelBinding::unsupported()), Err(ScramError::Failed));
}

#[test]
fn channel_binding_holds_the_login_to_the_certificate() {
    let (password, stored) = STORED[0];
    let server = || ServerScram::new(stored).expect("a verifier").with_certificate_hash(vec![7; 32]);
    assert_eq!(server().mechanisms(), [SCRAM_SHA_256_PLUS, SCRAM_SHA_256]);
    let bound = |hash: u8| ChannelBinding::tls_server_end_point(vec![hash; 32]);
    assert_eq!(login(&mut server(), SCRAM_SHA_256_PLUS, password, bound(7)), Ok(()));
    assert_eq!(login(&mut server(), SCRAM_SHA_256_PLUS, password, bound(8)), Err(ScramError::ChannelBinding));
    // A client that cannot bind may log in without; one that could and was not offered it was lied to.
    assert_eq!(login(&mut server(), SCRAM_SHA_256, password, ChannelBinding::unsupported()), Ok(()));
    let lied_to = login(&mut server(), SCRAM_SHA_256, password, ChannelBinding::unrequested());
    assert_eq!(lied_to, Err(ScramError::Downgrade));
    let mut plain = ServerScram::new(stored).expect("a verifier");
    assert_eq!(login(&mut plain, SCRAM_SHA_256, password, ChannelBinding::unrequested()), Ok(()));
    let mut plain = ServerScram::new(stored).expect("a verifier");
    assert_eq!(login(&mut plain, SCRAM_SHA_256_PLUS, password, bound(7)), Err(ScramError::Mechanism));
}

#[test]
fn malformed_messages_are_refused() {
    let (_, stored) = STORED[0];
    for (first, sqlstate) in [
        ("", "08P01"),
        ("n", "08P01"),
        ("n,,", "08P01"),
        ("x,,n=,r=abc", "08P01"),
        ("n,b,n=,r=abc", "08P01"),
        ("n,a=other,n=,r=abc", "0A000"),
        ("n,,m=ext,n=,r=abc", "0A000"),
        ("p=tls-unique,,n=,r=abc", "0A000"),
        ("p=tls-server-end-point,,n=,r=abc", "08P01"),
        ("n,,n=", "08P01"),
        ("n,,n=,r=", "08P01"),
        ("n,,n=,r=a b", "08P01"),
    ] {
        let mut server = ServerScram::new(stored).expect("a verifier");
        let error = server.on_client_first(SCRAM_SHA_256, first.as_bytes(), NONCE).expect_err(first);
        assert_eq!(error.sqlstate(), sqlstate, "{first}");
        let again = server.on_client_first(SCRAM_SHA_256, b"n,,n=,r=abc", NONCE);
        assert!(again.is_err(), "there is no second chance after {first}");
    }
    let proof = "A".repeat(43) + "=";
    for last in ["", "c=biws", "c=biws,r=abc", "c=biws,r=abc,p=AAAA", "c=?,r=abc,p=AAAA", "c=biws,r=abc,p=!"] {
        let mut server = ServerScram::new(stored).expect("a verifier");
        server.on_client_first(SCRAM_SHA_256, b"n,,n=,r=abc", NONCE).expect("a challenge");
        assert_eq!(server.on_client_final(last.as_bytes()).expect_err(last).sqlstate(), "08P01", "{last}");
    }
    let mut server = ServerScram::new(stored).expect("a verifier");
    server.on_client_first(SCRAM_SHA_256, b"n,,n=,r=abc", NONCE).expect("a challenge");
    let replayed = format!("c=biws,r=another,p={proof}");
    assert_eq!(server.on_client_final(replayed.as_bytes()).expect_err("another nonce").sqlstate(), "08P01");
}

#[test]
fn other_kinds_of_password_are_no_verifiers() {
    for text in [
        "",
        "md5c95e3bc1dd5a7e2c7a2fc6a8ee3b12c6",
        "SCRAM-SHA-256$0:AAAA$AAAA:AAAA",
        "SCRAM-SHA-256$4096:AAAA$AAAA:AAAA",
    ] {
        assert_eq!(ServerScram::new(text).expect_err(text), ScramError::Verifier);
    }
}
