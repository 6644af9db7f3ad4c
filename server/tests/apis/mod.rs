//! A real node answers each request that clients may send, in every version, and no answer
//! contradicts itself.

use wavetank_sim::invariants::check_answer;
use wavetank_sim::world::Exchange;

use crate::common::Node;
use crate::samples;

#[test]
fn every_api_of_clients_is_answered_in_every_version() {
    let node = Node::start(&[]);
    let mut client = node.client();
    client.until_topic("t");
    for request in samples::requests() {
        let properties = request.api().properties();
        if !properties.listeners.brokers {
            continue;
        }
        let (min, max) = properties.versions;
        for version in min..=max {
            let what = format!("{:?} {version}", request.api());
            let response = client.try_ask(version, &request).expect(&what);
            assert_eq!(response.api(), request.api());
            // Only the newest version carries all that is to be checked.
            if version == max {
                let request = Some(&request);
                let response = &response;
                let exchange = Exchange { request, response, by_timer: true, advanced: true };
                check_answer(&exchange).expect(&what);
            }
        }
    }
}
