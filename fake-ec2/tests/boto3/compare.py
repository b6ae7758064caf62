"""Asks two EC2s the same questions and prints where they differ.

    pip install boto3 'moto[server]'
    moto_server -p 5000 & fake-ec2 --listen 127.0.0.1:5001 --timing instant &
    python fake-ec2/tests/boto3/compare.py http://127.0.0.1:5001 http://127.0.0.1:5000

README.md says of each difference who is right, and by what source.
"""

import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError


def answers(url):
    ec2 = boto3.client(
        "ec2",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(retries={"max_attempts": 0}),
    )
    found = {}

    def ask(question, call):
        try:
            found[question] = str(call())
        except ClientError as error:
            found[question] = error.response["Error"]["Code"]
        except Exception as error:
            found[question] = type(error).__name__

    def newest(architecture):
        images = ec2.describe_images(
            Filters=[{"Name": "architecture", "Values": [architecture]}]
        )["Images"]
        return max(images, key=lambda image: image["CreationDate"])["ImageId"]

    image, arm = newest("x86_64"), newest("arm64")
    subnets = ec2.describe_subnets()["Subnets"]

    def run(**more):
        launch = dict(ImageId=image, InstanceType="m5.large", MinCount=1, MaxCount=1)
        instances = ec2.run_instances(**{**launch, **more})["Instances"]
        return sorted(instance["InstanceId"] for instance in instances)

    def one(instance):
        listed = ec2.describe_instances(InstanceIds=[instance])
        return listed["Reservations"][0]["Instances"][0]

    def tagged(*kinds):
        tags = [{"Key": "x", "Value": "1"}]
        return [{"ResourceType": kind, "Tags": tags} for kind in kinds]

    def disk(**ebs):
        return [{"DeviceName": "/dev/sda1", "Ebs": ebs}]

    by_tag = [{"Name": "tag:x", "Values": ["1"]}]
    nobody = "i-00000000000000000"

    ask("launch of 1 to 3", lambda: len(run(MaxCount=3)))
    first = run(ClientToken="t")
    ask("same token, same parameters: same", lambda: run(ClientToken="t") == first)
    ask("same token, other type", lambda: len(run(ClientToken="t", InstanceType="m5.xlarge")))
    zonal = run(ClientToken="z", SubnetId=subnets[0]["SubnetId"])
    other = lambda: run(ClientToken="z", SubnetId=subnets[1]["SubnetId"]) == zonal
    ask("same token, other zone: same", other)
    ec2.terminate_instances(InstanceIds=first)
    ask("state after termination", lambda: one(first[0])["State"]["Name"])
    ask("address after termination", lambda: "PrivateIpAddress" in one(first[0]))
    ask("token of a terminated one", lambda: len(run(ClientToken="t")))
    ask("a batch with an unknown id", lambda: ec2.terminate_instances(InstanceIds=[*zonal, nobody]))
    ask("its good id afterwards", lambda: one(zonal[0])["State"]["Name"])
    ask("malformed id", lambda: one("i-zz"))
    ask("unknown filter", lambda: ec2.describe_instances(Filters=[{"Name": "no", "Values": ["x"]}]))
    ask("page size of 1", lambda: len(ec2.describe_instances(MaxResults=1)["Reservations"]))
    ask("page size with ids", lambda: ec2.describe_instances(InstanceIds=zonal, MaxResults=5))
    ask("nonsense as token", lambda: ec2.describe_instances(NextToken="zzz", MaxResults=5))
    ask("dry run", lambda: run(DryRun=True))
    ask("unknown type", lambda: len(run(InstanceType="x9.huge")))
    ask("image of another architecture", lambda: len(run(ImageId=arm)))
    ask("unknown image", lambda: len(run(ImageId="ami-00000000000000000")))
    ask("unknown subnet", lambda: len(run(SubnetId="subnet-00000000000000000")))
    ask("17 000 bytes of user data", lambda: len(run(UserData="x" * 17000)))
    ask("least above most", lambda: len(run(MinCount=3, MaxCount=1)))
    ask("disk below its snapshot", lambda: len(run(BlockDeviceMappings=disk(VolumeSize=1))))
    amazon = [{"ResourceType": "instance", "Tags": [{"Key": "aws:x", "Value": "1"}]}]
    ask("tag of Amazon's", lambda: len(run(TagSpecifications=amazon)))
    request = "spot-instances-request"
    ask("tags of a spot request, on demand", lambda: len(run(TagSpecifications=tagged(request))))
    spot = run(
        InstanceMarketOptions={"MarketType": "spot"},
        TagSpecifications=tagged("instance", "volume", "network-interface", request),
    )
    ask("a spot instance names its request", lambda: "SpotInstanceRequestId" in one(spot[0]))
    ask("tagged volumes", lambda: len(ec2.describe_volumes(Filters=by_tag)["Volumes"]))
    interfaces = lambda: len(ec2.describe_network_interfaces(Filters=by_tag)["NetworkInterfaces"])
    ask("tagged interfaces", interfaces)
    requests = lambda: len(
        ec2.describe_spot_instance_requests(Filters=by_tag)["SpotInstanceRequests"]
    )
    ask("tagged spot requests", requests)
    ask("stop of one-time spot", lambda: len(ec2.stop_instances(InstanceIds=spot)["StoppingInstances"]))
    price = {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.0001"}}
    ask("spot below the price", lambda: len(run(InstanceMarketOptions=price)))
    ask("stop of a terminated one", lambda: len(ec2.stop_instances(InstanceIds=first)["StoppingInstances"]))
    ask("start of a terminated one", lambda: len(ec2.start_instances(InstanceIds=first)["StartingInstances"]))
    plain = lambda: len(ec2.stop_instances(InstanceIds=zonal, Hibernate=True)["StoppingInstances"])
    ask("hibernation that was not asked for", plain)
    kept = run(DisableApiTermination=True)
    ask("termination of a protected one", lambda: len(ec2.terminate_instances(InstanceIds=kept)["TerminatingInstances"]))
    stays = run(BlockDeviceMappings=disk(DeleteOnTermination=False, VolumeSize=30))
    ec2.terminate_instances(InstanceIds=stays)
    left = [{"Name": "status", "Values": ["available"]}]
    ask("a volume that stays", lambda: len(ec2.describe_volumes(Filters=left)["Volumes"]))
    data = {"ImageId": image}
    make = lambda: ec2.create_launch_template(
        LaunchTemplateName="one", ClientToken="q", LaunchTemplateData=data
    )["LaunchTemplate"]["LaunchTemplateId"]
    template = make()
    ask("a template's token: same", lambda: make() == template)

    def fleet(kinds, **more):
        specification = {"LaunchTemplateId": template, "Version": "1"}
        overrides = [{"InstanceType": kind} for kind in kinds]
        answer = ec2.create_fleet(
            Type="instant",
            LaunchTemplateConfigs=[
                {"LaunchTemplateSpecification": specification, "Overrides": overrides}
            ],
            TargetCapacitySpecification={
                "TotalTargetCapacity": 2,
                "DefaultTargetCapacityType": "spot",
            },
            **more,
        )
        errors = [error["ErrorCode"] for error in answer["Errors"]]
        return errors, sum(len(part["InstanceIds"]) for part in answer["Instances"])

    ask("a fleet", lambda: fleet(["m5.large", "c5.large"]))
    ask("a fleet with a type that does not fit", lambda: fleet(["m6g.large", "c5.large"]))
    return found


ours, theirs = (answers(url) for url in sys.argv[1:3])
for question, answer in ours.items():
    if answer != theirs[question]:
        print(f"{question}: {answer} | {theirs[question]}")
same = sum(answer == theirs[question] for question, answer in ours.items())
print(f"{same} of {len(ours)} the same")
