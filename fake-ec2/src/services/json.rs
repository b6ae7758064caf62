//! The services that speak JSON: SSM's parameters, Service Quotas.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cloud::{Call, Cloud, Identity, Reply};
use crate::error::ApiError;
use crate::policy::unauthorized;

impl Cloud {
    /// One call of a JSON service; `target` is its `X-Amz-Target` header, the
    /// call's parameters are empty.
    pub fn apply_json(
        &mut self,
        now: Timestamp,
        call: &Call,
        target: &str,
        body: &Value,
    ) -> Reply<Value> {
        let (service, name) = target.split_once('.').unwrap_or((target, ""));
        let prefix = match service {
            "AmazonSSM" => "ssm",
            "ServiceQuotasV20190624" => "servicequotas",
            other => other,
        };
        let needed = format!("{prefix}:{name}");
        let needs = vec![needed.clone()];
        self.envelop(now, call, name, needs, |cloud, identity, _| {
            if !identity.policy.allows(&needed) {
                let mut error = unauthorized(&identity.arn, &needed);
                error.code = "AccessDeniedException".into();
                error.status = 400;
                return Err(error);
            }
            match (prefix, name) {
                ("ssm", "GetParameter") => cloud.parameter(now, call, body),
                ("ssm", "GetParameters") => Ok(cloud.parameters(now, call, body)),
                ("servicequotas", "GetServiceQuota") => cloud.quota(identity, call, body),
                _ => Err(ApiError::new(
                    "UnknownOperationException",
                    format!("{target} is not known here"),
                )),
            }
        })
    }

    fn parameter(&self, now: Timestamp, call: &Call, body: &Value) -> Result<Value, ApiError> {
        let name = body["Name"].as_str().unwrap_or_default();
        match self.shown(now, call, name) {
            Some(parameter) => Ok(json!({ "Parameter": parameter })),
            None => Err(ApiError::new("ParameterNotFound", "")),
        }
    }

    fn parameters(&self, now: Timestamp, call: &Call, body: &Value) -> Value {
        let names = body["Names"].as_array().map_or(&[][..], Vec::as_slice);
        let (mut found, mut invalid) = (Vec::new(), Vec::new());
        for name in names.iter().filter_map(Value::as_str) {
            match self.shown(now, call, name) {
                Some(parameter) => found.push(parameter),
                None => invalid.push(name),
            }
        }
        json!({ "Parameters": found, "InvalidParameters": invalid })
    }

    fn shown(&self, now: Timestamp, call: &Call, name: &str) -> Option<Value> {
        let config = self.config();
        let own = config.parameters.get(name).cloned();
        let value = own.or_else(|| config.catalog.parameter(&call.region, name))?;
        Some(json!({
            "Name": name,
            "Type": "String",
            "Value": value,
            "Version": 1,
            "LastModifiedDate": now.as_second(),
            "ARN": format!("arn:aws:ssm:{}::parameter{name}", call.region),
            "DataType": if value.starts_with("ami-") { "aws:ec2:image" } else { "text" },
        }))
    }

    fn quota(&mut self, identity: &Identity, call: &Call, body: &Value) -> Result<Value, ApiError> {
        let limits = self.limits_mut(&identity.account);
        let code = body["QuotaCode"].as_str().unwrap_or_default();
        let (name, value) = match code {
            "L-1216C47A" => (
                "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
                limits.on_demand_vcpus,
            ),
            "L-34B43A08" => (
                "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests",
                limits.spot_vcpus,
            ),
            _ => {
                return Err(ApiError::new(
                    "NoSuchResourceException",
                    format!(
                        "The request failed because the specified quota {code} does not exist."
                    ),
                ));
            }
        };
        Ok(json!({ "Quota": {
            "ServiceCode": "ec2",
            "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
            "QuotaArn": format!(
                "arn:aws:servicequotas:{}:{}:ec2/{code}",
                call.region, identity.account
            ),
            "QuotaCode": code,
            "QuotaName": name,
            "Value": f64::from(value),
            "Unit": "None",
            "Adjustable": true,
            "GlobalQuota": false,
        }}))
    }
}
