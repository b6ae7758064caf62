output "url" {
  description = "The runner, from inside the network."
  value       = "http://${aws_instance.runner.private_ip}:3000"
}

output "shell" {
  description = "A shell on the runner."
  value       = "aws ssm start-session --region ${var.region} --target ${aws_instance.runner.id}"
}
