variable "deployment" {
  description = "The deployment's name: machines are tagged with it, and found by it."
  type        = string
}

variable "region" {
  description = "Where machines are."
  type        = string
  default     = "eu-west-1"
}

variable "release_url" {
  description = "Where `vmpool` and the static agents are downloaded from: RELEASE/vmpool-linux-arm64, RELEASE/lite-engine-linux-amd64."
  type        = string
}

variable "cidr" {
  description = "The network's addresses."
  type        = string
  default     = "10.9.0.0/16"
}

variable "callers" {
  description = "Address ranges of those who ask the runner for machines."
  type        = list(string)
  default     = ["10.9.0.0/16"]
}

variable "runner_type" {
  description = "The runner's own type, of arm64: it needs 64 MB and little else."
  type        = string
  default     = "t4g.small"
}

variable "machine_types" {
  description = "Types of the machines of builds, the preferred one first."
  type        = list(string)
  default     = ["m7i.large", "m6i.large"]
}

variable "market" {
  description = "on-demand, spot (on-demand while there is none), or spot-only."
  type        = string
  default     = "spot"
}

variable "warm" {
  description = "Machines kept ready."
  type        = number
  default     = 2
}

variable "limit" {
  description = "Machines at most."
  type        = number
  default     = 20
}

variable "service_roles" {
  description = "Make EC2's own roles for spot machines and fleets, which an account has once."
  type        = bool
  default     = false
}
