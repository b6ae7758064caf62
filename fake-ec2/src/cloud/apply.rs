//! One call, in the order of checks that EC2 makes: is the key good, is the
//! action known, do its parameters exist, are there tokens, is it allowed, is it
//! a dry run; then the action.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Call, Cloud, Delivery, Identity, Reply};
use crate::actions::{self, Action, templates};
use crate::error::ApiError;
use crate::faults::Fault;
use crate::params::Params;
use crate::policy::unauthorized;
use crate::record::CallRecord;
use crate::xml::Element;

impl Cloud {
    /// One call of the EC2 API.
    pub fn apply(&mut self, now: Timestamp, call: &Call) -> Reply {
        let name = call.params.text("Action").unwrap_or_default();
        let action = actions::find(name);
        let needs = action.map_or_else(Vec::new, |action| self.needs(call, action));
        let reply = self.envelop(
            now,
            call,
            name,
            needs,
            |cloud, identity, fault| match action {
                Some(action) => cloud.act(now, call, identity, action, fault),
                None => Err(ApiError::new(
                    "InvalidAction",
                    format!("The action {name} is not valid for this web service."),
                )),
            },
        );
        Reply {
            result: reply
                .result
                .map(|answer| answer.with("requestId", &reply.request_id)),
            ..reply
        }
    }

    /// What every call of every service goes through: what was due happens
    /// first, faults, a look at the key, and the record at the end.
    pub(crate) fn envelop<T>(
        &mut self,
        now: Timestamp,
        call: &Call,
        name: &str,
        needs: Vec<String>,
        run: impl FnOnce(&mut Self, &Identity, Option<&Fault>) -> Result<T, ApiError>,
    ) -> Reply<T> {
        self.run_until(now);
        let request_id = self.uuid();
        let identity = self.identity(&call.access_key);
        let fault = self
            .faults
            .draw(now, &identity.account, name, &mut self.rng);
        let refusal = match &fault {
            Some(Fault::LoseRequest) => {
                return Reply {
                    result: Err(ApiError::new("RequestLost", "the request never arrived")),
                    delivery: Delivery::Lost,
                    request_id,
                };
            }
            _ if identity.revoked => Some(ApiError::new(
                "AuthFailure",
                "AWS was not able to validate the provided access credentials",
            )),
            Some(fault @ Fault::Error { .. }) => fault.error(),
            _ => None,
        };
        let mut result = match refusal {
            Some(error) => Err(error),
            None => run(self, &identity, fault.as_ref()),
        };
        if let Some(fault @ Fault::ErrorAfterEffect { .. }) = &fault
            && let Some(error) = fault.error()
        {
            result = Err(error);
        }
        let delivery = match fault {
            Some(Fault::LoseAnswer) => Delivery::Lost,
            Some(Fault::Slow { by_ms }) => Delivery::Late(by_ms),
            _ => Delivery::Answered,
        };
        self.record.push(CallRecord {
            at: now,
            account: identity.account,
            region: call.region.clone(),
            access_key: call.access_key.clone(),
            action: name.to_owned(),
            needs,
            params: recorded(&call.params),
            error: result.as_ref().err().map(|error| error.code.to_string()),
            unanswered: delivery == Delivery::Lost,
        });
        Reply {
            result,
            delivery,
            request_id,
        }
    }

    fn needs(&self, call: &Call, action: &Action) -> Vec<String> {
        let account = self.identity(&call.access_key).account;
        let region = self.regions.get(&(account, call.region.clone()));
        let templates = region.map_or_else(Vec::new, |region| {
            templates::named_data(region, &call.params)
        });
        action.needs(&call.params, &templates)
    }

    fn act(
        &mut self,
        now: Timestamp,
        call: &Call,
        identity: &Identity,
        action: &'static Action,
        fault: Option<&Fault>,
    ) -> Result<Element, ApiError> {
        action.check_names(&call.params)?;
        let needs = self.needs(call, action);
        let throttling = self.config.throttling;
        self.with(&identity.account, &call.region, now, |context| {
            let resources = action.resources(&call.params);
            let narrowed = action.narrowed(&call.params);
            let buckets = &mut context.region.buckets;
            if throttling && !buckets.take(now, action.name, narrowed, resources) {
                return Err(ApiError::throttled());
            }
            for needed in &needs {
                if !identity.policy.allows(needed) {
                    return Err(unauthorized(&identity.arn, needed));
                }
            }
            if call.params.flag("DryRun")? == Some(true) {
                return Err(ApiError::dry_run());
            }
            context.principal.clone_from(&identity.arn);
            context.fault = fault.cloned();
            (action.run)(context, &call.params)
        })
        .unwrap_or_else(|| {
            let text = format!("The region {} is not known here.", call.region);
            Err(ApiError::new("AuthFailure", text))
        })
    }
}

/// A call's parameters for the record: user data is a secret.
fn recorded(params: &Params) -> BTreeMap<String, String> {
    let mut flat = params.flatten();
    for (key, value) in &mut flat {
        if key.ends_with("UserData") {
            *value = format!("({} characters)", value.len());
        }
    }
    flat
}
