# A runner of vmpool on one small instance, and all that it needs in an AWS
# account: a network, roles, and the policy of ../aws/policy.json.
#
#   terraform init && terraform apply -var deployment=ci
#
# Machines of builds have no public address: they go out by a NAT gateway, which
# is what costs most of an idle network.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

provider "aws" {
  region = var.region
}

data "aws_availability_zones" "here" {
  state = "available"
}

data "aws_ssm_parameter" "debian" {
  name = "/aws/service/debian/release/12/latest/arm64"
}

locals {
  zones = slice(data.aws_availability_zones.here.names, 0, 2)
  port  = 9079
}

# ---- The network -----------------------------------------------------------

resource "aws_vpc" "builds" {
  cidr_block           = var.cidr
  enable_dns_hostnames = true
  tags                 = { Name = "vmpool-${var.deployment}" }
}

resource "aws_internet_gateway" "out" {
  vpc_id = aws_vpc.builds.id
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.builds.id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.out.id
  }
}

resource "aws_subnet" "public" {
  vpc_id            = aws_vpc.builds.id
  availability_zone = local.zones[0]
  cidr_block        = cidrsubnet(var.cidr, 8, 0)
  tags              = { Name = "vmpool-${var.deployment}-runner" }
}

resource "aws_route_table_association" "public" {
  subnet_id      = aws_subnet.public.id
  route_table_id = aws_route_table.public.id
}

resource "aws_eip" "nat" {
  domain     = "vpc"
  depends_on = [aws_internet_gateway.out]
}

resource "aws_nat_gateway" "out" {
  allocation_id = aws_eip.nat.id
  subnet_id     = aws_subnet.public.id
}

resource "aws_route_table" "builds" {
  vpc_id = aws_vpc.builds.id
  route {
    cidr_block     = "0.0.0.0/0"
    nat_gateway_id = aws_nat_gateway.out.id
  }
}

resource "aws_subnet" "builds" {
  count             = length(local.zones)
  vpc_id            = aws_vpc.builds.id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(var.cidr, 4, count.index + 1)
  tags              = { Name = "vmpool-${var.deployment}-${local.zones[count.index]}" }
}

resource "aws_route_table_association" "builds" {
  count          = length(aws_subnet.builds)
  subnet_id      = aws_subnet.builds[count.index].id
  route_table_id = aws_route_table.builds.id
}

# The runner takes requests from inside the network alone: put the delegate, or
# whatever asks it for machines, in there.
resource "aws_security_group" "runner" {
  name        = "vmpool-${var.deployment}-runner"
  description = "The runner: its API, and agents for its machines"
  vpc_id      = aws_vpc.builds.id
}

resource "aws_vpc_security_group_ingress_rule" "agents" {
  security_group_id            = aws_security_group.runner.id
  description                  = "Machines download their agent"
  referenced_security_group_id = aws_security_group.machines.id
  ip_protocol                  = "tcp"
  from_port                    = 3003
  to_port                      = 3003
}

resource "aws_vpc_security_group_ingress_rule" "callers" {
  for_each          = toset(var.callers)
  security_group_id = aws_security_group.runner.id
  description       = "Who asks for machines"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 3000
  to_port           = 3000
}

resource "aws_vpc_security_group_egress_rule" "runner" {
  security_group_id = aws_security_group.runner.id
  description       = "AWS and its machines"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

resource "aws_security_group" "machines" {
  name        = "vmpool-${var.deployment}-machines"
  description = "Machines of builds: their runner reaches their agents, nobody else anything"
  vpc_id      = aws_vpc.builds.id
}

resource "aws_vpc_security_group_ingress_rule" "runner" {
  security_group_id            = aws_security_group.machines.id
  description                  = "The runner dials agents"
  referenced_security_group_id = aws_security_group.runner.id
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
}

resource "aws_vpc_security_group_egress_rule" "machines" {
  security_group_id = aws_security_group.machines.id
  description       = "What builds need"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

# ---- The runner's role -----------------------------------------------------

data "aws_iam_policy_document" "ec2" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "runner" {
  name               = "vmpool-${var.deployment}-runner"
  assume_role_policy = data.aws_iam_policy_document.ec2.json
}

resource "aws_iam_role_policy" "runner" {
  name   = "vmpool"
  role   = aws_iam_role.runner.id
  policy = replace(file("${path.module}/../aws/policy.json"), "DEPLOYMENT", var.deployment)
}

# A shell on the runner without an open port.
resource "aws_iam_role_policy_attachment" "sessions" {
  role       = aws_iam_role.runner.id
  policy_arn = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "runner" {
  name = aws_iam_role.runner.name
  role = aws_iam_role.runner.name
}

# EC2 acts by these for spot machines and fleets. An account has each once:
# import them, or set `service_roles = false`, where they are there.
resource "aws_iam_service_linked_role" "ec2" {
  for_each         = var.service_roles ? toset(["spot.amazonaws.com", "ec2fleet.amazonaws.com"]) : []
  aws_service_name = each.value
}

# ---- The runner ------------------------------------------------------------

resource "aws_instance" "runner" {
  ami                         = data.aws_ssm_parameter.debian.value
  instance_type               = var.runner_type
  subnet_id                   = aws_subnet.public.id
  vpc_security_group_ids      = [aws_security_group.runner.id]
  iam_instance_profile        = aws_iam_instance_profile.runner.name
  associate_public_ip_address = true
  user_data = templatefile("${path.module}/runner.yaml.tftpl", {
    deployment = var.deployment
    release    = var.release_url
    pools      = local.pools
  })

  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  # Its disk holds the journal and the deployment's keys.
  root_block_device {
    volume_size           = 16
    volume_type           = "gp3"
    encrypted             = true
    delete_on_termination = false
  }

  lifecycle {
    ignore_changes = [ami]
  }

  tags = { Name = "vmpool-${var.deployment}-runner" }
}

locals {
  pools = yamlencode({
    version = "1"
    instances = [{
      name     = "linux"
      type     = "amazon"
      pool     = var.warm
      limit    = var.limit
      platform = { os = "linux", arch = "amd64", os_name = "ubuntu" }
      spec = {
        account     = { region = var.region }
        ami         = "resolve:ssm:/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
        size        = var.machine_types
        market_type = var.market
        disk        = { size = 64, type = "gp3" }
        network = {
          private_ip      = true
          security_groups = [aws_security_group.machines.id]
          zone_details = [for subnet in aws_subnet.builds : {
            availability_zone = subnet.availability_zone
            subnet_id         = subnet.id
          }]
        }
      }
    }]
  })
}
