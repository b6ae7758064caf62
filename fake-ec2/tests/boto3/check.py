"""Drives a fake-ec2 with boto3, to see that a real SDK reads every answer.

    python3 -m venv /tmp/boto && /tmp/boto/bin/pip install boto3
    cargo build -p fake-ec2
    /tmp/boto/bin/python fake-ec2/tests/boto3/check.py target/debug/fake-ec2

Every answer's XML is also held against botocore's model of the API: an element
that the model does not know would be dropped by the SDK without a word, so it
is an error here. With `--endpoint URL` it drives what listens there instead
(moto, for comparison) and goes as far as that lets it.
"""

import argparse
import base64
import json
import subprocess
import sys
import urllib.request
import xml.etree.ElementTree as ElementTree

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

parser = argparse.ArgumentParser()
parser.add_argument("binary", nargs="?")
parser.add_argument("--endpoint")
arguments = parser.parse_args()

fake = None
if arguments.endpoint:
    url = arguments.endpoint
else:
    command = [arguments.binary, "--listen", "127.0.0.1:0", "--timing", "instant"]
    fake = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    url = fake.stdout.readline().strip()

failures = []
unknown = set()
compared = 0


def client(service, key="any", **options):
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key="any",
        config=Config(retries={"max_attempts": 0}),
        **options,
    )


def compare(element, shape, path):
    """Notes elements that the model has no member for."""
    global compared
    compared += 1
    if shape.type_name == "structure":
        members = {}
        for name, member in shape.members.items():
            members[member.serialization.get("name", name)] = member
        for child in element:
            name = child.tag.split("}")[-1]
            if name in members:
                compare(child, members[name], f"{path}/{name}")
            elif name not in ("requestId", "return"):
                unknown.add(f"{path}/{name}")
    elif shape.type_name == "list":
        item = shape.member.serialization.get("name", "member")
        for child in element:
            name = child.tag.split("}")[-1]
            if name == item:
                compare(child, shape.member, f"{path}/{name}")
            else:
                unknown.add(f"{path}/{name}")


def check(what, condition):
    print(("ok      " if condition else "FAILED  ") + what)
    if not condition:
        failures.append(what)


def refused(code, call, **parameters):
    try:
        call(**parameters)
        check(f"{call.__name__} is refused with {code}", False)
    except ClientError as error:
        said = error.response["Error"]["Code"]
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        check(f"{call.__name__} is refused with {code} (was {said}, {status})", said == code)


ec2 = client("ec2")


def parsed(http_response, parsed, model, **_):
    if http_response.status_code == 200 and model.output_shape is not None:
        compare(ElementTree.fromstring(http_response.content), model.output_shape, model.name)


ec2.meta.events.register("after-call.ec2", parsed)


def tags(kind, **pairs):
    listed = [{"Key": key, "Value": value} for key, value in pairs.items()]
    return {"ResourceType": kind, "Tags": listed}


try:
    images = ec2.describe_images(
        Owners=["099720109477"],
        Filters=[
            {"Name": "name", "Values": ["ubuntu/images/*noble*-amd64-server-*"]},
            {"Name": "architecture", "Values": ["x86_64"]},
        ],
    )["Images"]
    check("images are found by owner and name", len(images) >= 1)
    newest = max(images, key=lambda image: image["CreationDate"])
    image = newest["ImageId"]
    check("an image has its boot mode", newest.get("BootMode") == "uefi-preferred")

    zones = ec2.describe_availability_zones()["AvailabilityZones"]
    check("three zones", len(zones) == 3)
    subnets = ec2.describe_subnets()["Subnets"]
    check("a default subnet in each", all(subnet["DefaultForAz"] for subnet in subnets))
    check("one default VPC", len(ec2.describe_vpcs()["Vpcs"]) == 1)
    check("regions", len(ec2.describe_regions()["Regions"]) >= 2)
    tables = ec2.describe_route_tables()["RouteTables"]
    check("a route out", any(r.get("GatewayId", "").startswith("igw") for r in tables[0]["Routes"]))

    types = ec2.describe_instance_types(InstanceTypes=["m6i.large", "m6g.large"])["InstanceTypes"]
    by_name = {kind["InstanceType"]: kind for kind in types}
    check("types have vCPUs", by_name["m6i.large"]["VCpuInfo"]["DefaultVCpus"] == 2)
    check(
        "types have architectures",
        by_name["m6g.large"]["ProcessorInfo"]["SupportedArchitectures"] == ["arm64"],
    )
    offers = ec2.describe_instance_type_offerings(
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": ["m7g.large"]}],
    )["InstanceTypeOfferings"]
    check("a newer type is missing from a zone", len(offers) == 2)
    prices = ec2.describe_spot_price_history(
        InstanceTypes=["m6i.large"], ProductDescriptions=["Linux/UNIX"], MaxResults=100
    )["SpotPriceHistory"]
    check("spot prices by zone", len({price["AvailabilityZone"] for price in prices}) == 3)

    group = ec2.create_security_group(
        GroupName="vmpool-agents",
        Description="agents",
        TagSpecifications=[tags("security-group", owner="me")],
    )["GroupId"]
    rules = ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[
            {
                "IpProtocol": "tcp",
                "FromPort": 9079,
                "ToPort": 9079,
                "IpRanges": [{"CidrIp": "10.0.0.0/8", "Description": "runners"}],
                "UserIdGroupPairs": [{"GroupId": group}],
            }
        ],
    )["SecurityGroupRules"]
    check("both rules were made", len(rules) == 2)
    found = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
    check("a group shows its ports", found["IpPermissions"][0]["FromPort"] == 9079)

    launch = dict(
        ImageId=image,
        InstanceType="m6i.large",
        MinCount=1,
        MaxCount=3,
        ClientToken="order-1",
        UserData="#!/bin/sh\n",
        InstanceInitiatedShutdownBehavior="terminate",
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        BlockDeviceMappings=[
            {
                "DeviceName": "/dev/sda1",
                "Ebs": {"VolumeSize": 20, "Encrypted": True, "DeleteOnTermination": True},
            }
        ],
        NetworkInterfaces=[
            {
                "DeviceIndex": 0,
                "SubnetId": subnets[0]["SubnetId"],
                "Groups": [group],
                "AssociatePublicIpAddress": False,
            }
        ],
        IamInstanceProfile={"Name": "builder"},
        TagSpecifications=[
            tags("instance", pool="p", order="1"),
            tags("volume", pool="p"),
            tags("network-interface", pool="p"),
        ],
    )
    refused("DryRunOperation", ec2.run_instances, DryRun=True, **launch)
    answer = ec2.run_instances(**launch)
    ids = sorted(instance["InstanceId"] for instance in answer["Instances"])
    check("three instances", len(ids) == 3)
    again = sorted(i["InstanceId"] for i in ec2.run_instances(**launch)["Instances"])
    check("the same token makes the same instances", ids == again)
    refused(
        "IdempotentParameterMismatch", ec2.run_instances, **{**launch, "InstanceType": "m6i.xlarge"}
    )

    paged = ec2.get_paginator("describe_instances").paginate(
        Filters=[{"Name": "tag:pool", "Values": ["p"]}], PaginationConfig={"PageSize": 5}
    )
    listed = [i for page in paged for r in page["Reservations"] for i in r["Instances"]]
    check("the listing has them", sorted(i["InstanceId"] for i in listed) == ids)
    one = listed[0]
    check("it runs", one["State"]["Name"] == "running")
    check("it has an address", one["PrivateIpAddress"].startswith("127."))
    check("it is in no public network", "PublicIpAddress" not in one)
    check("IMDSv2 only", one["MetadataOptions"]["HttpTokens"] == "required")
    check("its interface is listed", one["NetworkInterfaces"][0]["Groups"][0]["GroupId"] == group)
    check("its disk is listed", one["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"])
    check("its profile is listed", one["IamInstanceProfile"]["Arn"].endswith("/builder"))
    statuses = ec2.describe_instance_status(InstanceIds=ids)["InstanceStatuses"]
    check("statuses", all(s["InstanceStatus"]["Status"] == "ok" for s in statuses))
    volumes = ec2.describe_volumes(Filters=[{"Name": "tag:pool", "Values": ["p"]}])["Volumes"]
    check("volumes are tagged and encrypted", [v["Encrypted"] for v in volumes] == [True] * 3)
    interfaces = ec2.describe_network_interfaces(
        Filters=[{"Name": "attachment.instance-id", "Values": ids}]
    )["NetworkInterfaces"]
    check("interfaces are tagged", all(i["TagSet"] for i in interfaces) and len(interfaces) == 3)
    ec2.create_tags(Resources=[ids[0]], Tags=[{"Key": "late", "Value": "yes"}])
    output = ec2.get_console_output(InstanceId=ids[0])
    check("the console has printed", ids[0] in output["Output"])

    refused(
        "InvalidInstanceID.NotFound",
        ec2.terminate_instances,
        InstanceIds=[*ids, "i-00000000000000000"],
    )
    refused("InvalidInstanceID.Malformed", ec2.describe_instances, InstanceIds=["i-zz"])
    refused("UnsupportedHibernationConfiguration", ec2.stop_instances, InstanceIds=[ids[0]], Hibernate=True)
    stopped = ec2.stop_instances(InstanceIds=[ids[0]])["StoppingInstances"]
    check("it stops", stopped[0]["CurrentState"]["Name"] == "stopping")
    started = ec2.start_instances(InstanceIds=[ids[0]])["StartingInstances"]
    check("it starts", started[0]["CurrentState"]["Name"] == "pending")
    ended = ec2.terminate_instances(InstanceIds=ids)["TerminatingInstances"]
    check("they end", all(i["CurrentState"]["Name"] == "shutting-down" for i in ended))
    after = ec2.describe_instances(InstanceIds=[ids[0]])["Reservations"][0]["Instances"][0]
    check("the reason is told", after["StateReason"]["Code"] == "Client.UserInitiatedShutdown")
    refused("IdempotentInstanceTerminated", ec2.run_instances, **launch)

    template = ec2.create_launch_template(
        LaunchTemplateName="order-2",
        LaunchTemplateData={
            "ImageId": image,
            "UserData": base64.b64encode(b"#!/bin/sh\n").decode(),
            "TagSpecifications": [
                tags("instance", pool="q"),
                tags("volume", pool="q"),
            ],
        },
        TagSpecifications=[tags("launch-template", pool="q")],
    )["LaunchTemplate"]
    check(
        "the template is listed",
        ec2.describe_launch_templates(Filters=[{"Name": "tag:pool", "Values": ["q"]}])[
            "LaunchTemplates"
        ][0]["LaunchTemplateId"]
        == template["LaunchTemplateId"],
    )
    if fake:
        limits = json.dumps({"capacity": [{"instance_type": "m6i.large", "market": "spot", "most": 2}]})
        request = urllib.request.Request(
            f"{url}/_fake/limits",
            data=limits.encode(),
            headers={"content-type": "application/json"},
            method="PUT",
        )
        urllib.request.urlopen(request)
    fleet = ec2.create_fleet(
        Type="instant",
        ClientToken="order-2",
        LaunchTemplateConfigs=[
            {
                "LaunchTemplateSpecification": {
                    "LaunchTemplateId": template["LaunchTemplateId"],
                    "Version": "$Latest",
                },
                "Overrides": [
                    {"InstanceType": "m6i.large", "SubnetId": subnets[0]["SubnetId"]},
                    {"InstanceType": "m5.large", "SubnetId": subnets[1]["SubnetId"]},
                    {"InstanceType": "m6g.large", "SubnetId": subnets[1]["SubnetId"]},
                ],
            }
        ],
        TargetCapacitySpecification={
            "TotalTargetCapacity": 5,
            "DefaultTargetCapacityType": "spot",
        },
        TagSpecifications=[tags("fleet", pool="q"), tags("instance", order="2")],
    )
    codes = sorted(error["ErrorCode"] for error in fleet["Errors"])
    check("what fails is told", codes == ["InsufficientInstanceCapacity", "InvalidParameterValue"])
    made = [i for part in fleet["Instances"] for i in part["InstanceIds"]]
    check("the fleet has what there is", len(made) == 5)
    spot = ec2.describe_spot_instance_requests()["SpotInstanceRequests"]
    check("spot requests are active", all(r["State"] == "active" for r in spot) and len(spot) == 5)
    cancelled = ec2.cancel_spot_instance_requests(
        SpotInstanceRequestIds=[spot[0]["SpotInstanceRequestId"]]
    )["CancelledSpotInstanceRequests"]
    check("a request can be cancelled", cancelled[0]["State"] == "cancelled")
    refused("UnsupportedOperation", ec2.stop_instances, InstanceIds=[made[0]])
    ec2.delete_launch_template(LaunchTemplateId=template["LaunchTemplateId"])
    refused(
        "InvalidLaunchTemplateId.NotFound",
        ec2.describe_launch_templates,
        LaunchTemplateIds=[template["LaunchTemplateId"]],
    )

    name = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
    if fake:
        ssm = client("ssm")
        value = ssm.get_parameter(Name=name)["Parameter"]["Value"]
        check("a parameter names the newest image", value == image)
        many = ssm.get_parameters(Names=[name, "/none"])
        check("an unknown parameter is told", many["InvalidParameters"] == ["/none"])
        refused("ParameterNotFound", ssm.get_parameter, Name="/none")
        quota = client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode="L-1216C47A")
        check("the quota is told", quota["Quota"]["Value"] == 1_000_000.0)
    sts = client("sts", key="444455556666")
    check("who one is", sts.get_caller_identity()["Account"] == "444455556666")
    role = sts.assume_role(
        RoleArn="arn:aws:iam::777788889999:role/builder", RoleSessionName="me"
    )
    other = client(
        "sts",
        key=role["Credentials"]["AccessKeyId"],
        aws_session_token=role["Credentials"]["SessionToken"],
    )
    check("a role is of its account", other.get_caller_identity()["Account"] == "777788889999")
    refused("InvalidParameterValue", ec2.describe_instances, Filters=[{"Name": "no", "Values": ["x"]}])
    refused("InvalidAMIID.NotFound", ec2.describe_images, ImageIds=["ami-00000000000000000"])
finally:
    if fake:
        fake.terminate()
        fake.wait()

for path in sorted(unknown):
    check(f"{path} is in the model", False)
check(f"{compared} elements are of the model", compared > 1000)
print(f"{len(failures)} failures")
sys.exit(1 if failures else 0)
