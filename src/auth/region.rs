//! Regions, and the names of hosts that tell them.

/// What may follow the region in the name of a host of Amazon Managed Prometheus: its own address,
/// the one for both versions of IP, and the one of a VPC endpoint; also those of China.
const DOMAINS: [&str; 6] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "api.aws",
    "api.amazonwebservices.com.cn",
    "vpce.amazonaws.com",
    "vpce.amazonaws.com.cn",
];

/// Whether a text can be a region; it becomes part of a host's name.
pub fn is_region(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(allowed)
}

/// The region of a host (in lower case) of Amazon Managed Prometheus; `None` where it is another
/// host. See <https://docs.aws.amazon.com/general/latest/gr/prometheus-service.html>.
pub fn prometheus_region(host: &str) -> Option<&str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let mut rest = host;
    loop {
        let (label, after) = rest.split_once('.')?;
        if label == "aps-workspaces" || label == "aps-workspaces-fips" {
            let (region, domain) = after.split_once('.')?;
            return (is_region(region) && DOMAINS.contains(&domain)).then_some(region);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_workspace_tells_its_region() {
        for (host, region) in [
            ("aps-workspaces.us-east-1.amazonaws.com", "us-east-1"),
            ("aps-workspaces.eu-central-1.amazonaws.com.", "eu-central-1"),
            ("aps-workspaces.us-west-2.api.aws", "us-west-2"),
            ("aps-workspaces-fips.us-east-2.amazonaws.com", "us-east-2"),
            ("aps-workspaces-fips.us-gov-west-1.api.aws", "us-gov-west-1"),
            ("aps-workspaces.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            (
                "vpce-0ab1-2cd3.aps-workspaces.eu-west-1.vpce.amazonaws.com",
                "eu-west-1",
            ),
            (
                "vpce-0ab1-2cd3-eu-west-1a.aps-workspaces.eu-west-1.vpce.amazonaws.com",
                "eu-west-1",
            ),
        ] {
            assert_eq!(prometheus_region(host), Some(region), "{host}");
        }
    }

    #[test]
    fn other_hosts_tell_nothing() {
        for host in [
            "localhost",
            "prometheus.us-east-1.amazonaws.com",
            "aps-workspaces.us-east-1.example.org",
            "aps-workspaces.us-east-1.amazonaws.com.example.org",
            "aps-workspaces.amazonaws.com",
            "aps-workspaces.us_east.amazonaws.com",
            "aps-workspaces",
        ] {
            assert_eq!(prometheus_region(host), None, "{host}");
        }
        assert!(is_region("us-gov-west-1"));
        assert!(!is_region("evil.example/") && !is_region(""));
    }
}
