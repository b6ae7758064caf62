//! The making of instances, with their disks, interfaces and spot requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Wish;
use crate::catalog::Zone;
use crate::cloud::{
    Context, Instance, Interface, Lagged, Market, Reason, SpotRequest, State, Tags, Volume,
};
use crate::faults::Fault;

impl Wish {
    /// Makes instances in a zone that has been found to have room for them.
    pub(crate) fn launch(
        &self,
        context: &mut Context<'_>,
        zone: &Zone,
        reservation: &str,
        count: u32,
    ) -> Vec<String> {
        (0..count)
            .map(|index| self.launch_one(context, zone, reservation, index))
            .collect()
    }

    fn launch_one(
        &self,
        context: &mut Context<'_>,
        zone: &Zone,
        reservation: &str,
        index: u32,
    ) -> String {
        let id = context.new_id("i");
        let now = context.now;
        let subnet = context.place.subnet(context.account, zone);
        let vpc = context.place.vpc(context.account);
        let private_address = context.take_address(zone);
        let public_address = self
            .public
            .then(|| Context::public_address(private_address));
        let volumes = self.make_volumes(context, &id, zone);
        let interface = context.new_id("eni");
        context.region.interfaces.insert(
            interface.clone(),
            Interface {
                id: interface.clone(),
                subnet: subnet.clone(),
                vpc: vpc.clone(),
                zone: zone.name.clone(),
                private_address,
                public_address,
                groups: self.groups.clone(),
                description: self.description.clone(),
                tags: self.tagged("network-interface"),
                attached: Some(id.clone()),
                attached_at: now,
                delete_on_termination: !self.interface_stays,
            },
        );
        let spot_request =
            (self.market == Market::Spot).then(|| self.make_spot_request(context, &id, zone));
        let instance = Instance {
            id: id.clone(),
            reservation: reservation.to_owned(),
            launch_index: index,
            image: self.image_id.clone(),
            instance_type: self.kind.name.clone(),
            vcpus: self.kind.vcpus,
            architecture: self.kind.architecture.name(),
            windows: self.image.windows,
            zone: zone.name.clone(),
            subnet,
            vpc,
            private_address,
            public_address,
            groups: self.groups.clone(),
            key_name: self.key_name.clone(),
            profile: self.profile.clone(),
            market: self.market,
            spot_request,
            client_token: self.client_token.clone(),
            state: State::Pending,
            reason: Some(Reason::pending()),
            launched: now,
            tags: self.tagged("instance"),
            user_data: self.user_data.clone(),
            root_device: self.image.root_device.clone(),
            volumes,
            interface,
            shutdown_terminates: self.shutdown_terminates,
            protected: self.protected,
            hibernation: self.hibernation,
            hibernated: false,
            metadata: self.metadata.clone(),
            reclaim_at: None,
            doomed: match &context.fault {
                Some(Fault::FailedLaunch { code }) => Some(code.clone()),
                _ => None,
            },
        };
        let hidden_until = context.seen_from();
        context
            .region
            .instances
            .insert(id.clone(), Lagged::new(Arc::new(instance), hidden_until));
        context.boots(&id);
        id
    }

    fn make_volumes(
        &self,
        context: &mut Context<'_>,
        instance: &str,
        zone: &Zone,
    ) -> BTreeMap<String, String> {
        let mut volumes = BTreeMap::new();
        for disk in &self.disks {
            let id = context.new_id("vol");
            volumes.insert(disk.device.clone(), id.clone());
            let volume = Volume {
                id: id.clone(),
                gib: disk.gib,
                kind: disk.kind.clone(),
                iops: disk.iops,
                throughput: disk.throughput,
                zone: zone.name.clone(),
                encrypted: disk.encrypted,
                kms_key: disk.kms_key.clone(),
                snapshot: disk.snapshot.clone(),
                tags: self.tagged("volume"),
                created: context.now,
                attached: Some((instance.to_owned(), disk.device.clone())),
                delete_on_termination: disk.goes,
            };
            context.region.volumes.insert(id, volume);
        }
        volumes
    }

    fn make_spot_request(&self, context: &mut Context<'_>, instance: &str, zone: &Zone) -> String {
        let id = format!("sir-{:08x}", context.rng.u32(..));
        let request = SpotRequest {
            id: id.clone(),
            instance: instance.to_owned(),
            instance_type: self.kind.name.clone(),
            image: self.image_id.clone(),
            zone: zone.name.clone(),
            max_price: self.spot.max_price.unwrap_or(self.kind.price),
            persistent: self.spot.persistent,
            interruption: self.spot.interruption.clone(),
            state: "active",
            status: "fulfilled",
            updated: context.now,
            created: context.now,
            tags: self.tagged("spot-instances-request"),
        };
        context.region.spot_requests.insert(id.clone(), request);
        id
    }

    fn tagged(&self, kind: &str) -> Tags {
        self.tags.get(kind).cloned().unwrap_or_default()
    }
}
