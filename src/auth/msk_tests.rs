use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const SESSION: &str = "FwoGZXIvYXdzEBYaDk+/hunter2==";
/// 2015-08-30T12:36:00Z.
const NOW_MS: i64 = 1_440_938_160_000;

/// The reverse of `base64url`, by the definition.
fn decoded(text: &str) -> String {
    let mut bits = Vec::new();
    for c in text.chars() {
        let value = match c {
            'A'..='Z' => c as u32 - 'A' as u32,
            'a'..='z' => c as u32 - 'a' as u32 + 26,
            '0'..='9' => c as u32 - '0' as u32 + 52,
            '-' => 62,
            '_' => 63,
            other => panic!("'{other}' is not of base64url"),
        };
        bits.extend((0..6).rev().map(|bit| value >> bit & 1));
    }
    let byte = |bits: &[u32]| bits.iter().fold(0, |byte, bit| byte << 1 | bit) as u8;
    let bytes: Vec<u8> = bits.chunks_exact(8).map(byte).collect();
    String::from_utf8(bytes).unwrap()
}

/// The parts of a URL's query, in order of their names.
fn parts(url: &str) -> Vec<&str> {
    let (server, query) = url.split_once('?').unwrap();
    assert_eq!(server, "https://kafka.eu-central-1.amazonaws.com/");
    let mut parts: Vec<_> = query.split('&').collect();
    parts.sort_unstable();
    parts
}

/// The URLs are those of botocore 1.44.5 (`SigV4QueryAuth`, as Amazon's own signer for Python uses it)
/// for the same credentials and time.
#[test]
fn a_token_is_a_signed_request_to_connect() {
    let signed = "https://kafka.eu-central-1.amazonaws.com/?Action=kafka-cluster%3AConnect\
                  &X-Amz-Algorithm=AWS4-HMAC-SHA256\
                  &X-Amz-Credential=AKID%2F20150830%2Feu-central-1%2Fkafka-cluster%2Faws4_request\
                  &X-Amz-Date=20150830T123600Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host";
    let alone = "&X-Amz-Signature=25cdbc433be5ce42904ddf6b66f64dd1e1b502abd4c7b3693067381d7cd35ff7";
    let in_session = "&X-Amz-Security-Token=FwoGZXIvYXdzEBYaDk%2B%2Fhunter2%3D%3D&X-Amz-Signature=\
                      3c94d8cf04b3dd6e5f621471018e63a3fa03c77c3bc51b6193bceb63a553f223";
    for (session, rest) in [(None, alone), (Some(SESSION), in_session)] {
        let session = session.map(str::to_owned);
        let credentials = Credentials::new("AKID", SECRET, session, None, "test");
        let token = msk_token(&credentials, "eu-central-1", NOW_MS).unwrap();
        let url = decoded(&token);
        let (url, agent) = url.split_once("&User-Agent=").unwrap();
        assert!(agent.starts_with("weir%2F"), "{agent}");
        assert_eq!(parts(url), parts(&format!("{signed}{rest}")));
    }
}
