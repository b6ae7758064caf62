//! A cloud and its time, for one test.

use fake_ec2::{ApiError, Architecture, Call, Cloud, Config, Element, Instance, Params, Reply};
use jiff::{SignedDuration, Timestamp};

pub(crate) const ACCOUNT: &str = "111122223333";

pub(crate) struct Sky {
    pub(crate) cloud: Cloud,
    pub(crate) now: Timestamp,
    pub(crate) key: String,
    pub(crate) region: String,
}

impl Sky {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        Self {
            cloud: Cloud::new(config),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            key: "any".to_owned(),
            region: "us-east-1".to_owned(),
        }
    }

    pub(crate) fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
        self.cloud.run_until(self.now);
    }

    pub(crate) fn reply(&mut self, action: &str, pairs: &[(&str, &str)]) -> Reply {
        let mut params = Params::from_pairs(pairs.iter().copied()).unwrap();
        params.set("Action", action.to_owned()).unwrap();
        let call = Call {
            access_key: self.key.clone(),
            region: self.region.clone(),
            params,
        };
        self.cloud.apply(self.now, &call)
    }

    pub(crate) fn call(
        &mut self,
        action: &str,
        pairs: &[(&str, &str)],
    ) -> Result<Element, ApiError> {
        self.reply(action, pairs).result
    }

    pub(crate) fn ok(&mut self, action: &str, pairs: &[(&str, &str)]) -> Element {
        match self.call(action, pairs) {
            Ok(answer) => answer,
            Err(error) => panic!("{action} is refused: {error}"),
        }
    }

    /// The code with which a call is refused.
    pub(crate) fn refused(&mut self, action: &str, pairs: &[(&str, &str)]) -> String {
        match self.call(action, pairs) {
            Ok(_) => panic!("{action} is not refused"),
            Err(error) => error.code.into_owned(),
        }
    }

    pub(crate) fn image(&self, architecture: Architecture) -> String {
        self.cloud
            .config()
            .catalog
            .images
            .iter()
            .find(|image| image.architecture == architecture && !image.windows)
            .expect("the catalog has Linux for each")
            .id(&self.region)
    }

    /// A launch's parameters, with these on top.
    pub(crate) fn launch_pairs(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut params = Params::from_pairs([
            ("InstanceType", "m6i.large"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
        ])
        .unwrap();
        let image = self.image(Architecture::X86_64);
        params.set("ImageId", image).unwrap();
        for (key, value) in more {
            params.set(key, (*value).to_owned()).unwrap();
        }
        params.flatten().into_iter().collect()
    }

    pub(crate) fn try_launch(&mut self, more: &[(&str, &str)]) -> Result<Element, ApiError> {
        let pairs = self.launch_pairs(more);
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        self.call("RunInstances", &pairs)
    }

    pub(crate) fn launch(&mut self, more: &[(&str, &str)]) -> Vec<String> {
        match self.try_launch(more) {
            Ok(answer) => answer
                .texts("instancesSet/item/instanceId")
                .into_iter()
                .map(str::to_owned)
                .collect(),
            Err(error) => panic!("the launch is refused: {error}"),
        }
    }

    pub(crate) fn launch_refused(&mut self, more: &[(&str, &str)]) -> String {
        match self.try_launch(more) {
            Ok(_) => panic!("the launch is not refused"),
            Err(error) => error.code.into_owned(),
        }
    }

    /// An instance as it truly is.
    pub(crate) fn truth(&self, id: &str) -> &Instance {
        self.cloud
            .instances()
            .find(|(_, _, instance)| instance.id == id)
            .map(|(_, _, instance)| instance)
            .expect("it is there")
    }

    /// The state that the API tells.
    pub(crate) fn state(&mut self, id: &str) -> Result<String, String> {
        self.call("DescribeInstances", &[("InstanceId.1", id)])
            .map(|answer| {
                answer
                    .text_at("reservationSet/item/instancesSet/item/instanceState/name")
                    .expect("it has a state")
                    .to_owned()
            })
            .map_err(|error| error.code.into_owned())
    }

    pub(crate) fn count(&self) -> usize {
        self.cloud.instances().count()
    }
}
