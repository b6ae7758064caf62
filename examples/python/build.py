#!/usr/bin/env python3
"""Runs one command on a fresh machine, over vmpool's gRPC API.

    build.py --pool linux --stage S1 --output out.log -- sh -c 'make && make test'

Killed at any moment and started again with the same words it goes on where it
was: the stage has its machine, the step is not run again, and the output file's
length says from where the output is wanted. The same happens by itself when the
runner is restarted, upgraded or lost.

The messages are made from the .proto files when the program starts; nothing is
generated beforehand. Needs grpcio, grpcio-tools and grpcio-status.
"""

import argparse
import pathlib
import sys
import time

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

PROTO = pathlib.Path(__file__).resolve().parents[2] / "vmpool-proto" / "proto"
sys.path.insert(0, str(PROTO))
builds, services = grpc.protos_and_services("vmpool/v1/builds.proto")

# As long as a runner may take to be replaced.
PATIENCE = 120.0


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def details(error):
    """The reason of an error, and when to ask again, if ever."""
    reason, again = "", None
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        evidence = builds.Evidence()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(retry):
            again = retry.retry_delay.ToMilliseconds() / 1000
        elif detail.Unpack(evidence):
            for trouble in evidence.troubles:
                say("  seen:", trouble.text)
    if again is None and error.code() == grpc.StatusCode.UNAVAILABLE:
        # Nobody is there who could say when.
        again = 0.5
    return reason, again


def insist(call):
    """Makes a call, again while its answer is to come again (every call may be)."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            reason, again = details(error)
            if again is None or time.monotonic() > until:
                raise
            say("again:", reason or error.code().name, error.details())
            time.sleep(again)


def acquire(runner, stage, pool):
    request = builds.AcquireRequest(stage_id=stage, pool=pool)
    try:
        for progress in runner.Acquire(request, timeout=900):
            stands = progress.WhichOneof("progress")
            say(stands, str(getattr(progress, stands)).replace("\n", " "))
    except grpc.RpcError as error:
        reason, _ = details(error)
        if reason != "STAGE_OVER":
            raise
        # It was released, and its result can be asked for still.
        say("over:", error.details())


def run(runner, stage, step, command, output):
    """Appends to the file what it lacks of the output; gives the result."""
    with open(output, "ab") as file:
        request = builds.RunRequest(
            stage_id=stage, step_id=step, command=command, from_offset=file.tell()
        )
        for event in runner.Run(request):
            if event.HasField("result"):
                return event.result
            assert event.output.offset == file.tell(), "a hole in the output"
            file.write(event.output.data)
            file.flush()
            sys.stdout.buffer.write(event.output.data)
            sys.stdout.buffer.flush()
    raise RuntimeError("a stream ended without a result")


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--runner", default="127.0.0.1:3001", help="host:port of --grpc-listen")
    options.add_argument("--pool", required=True)
    options.add_argument("--stage", required=True, help="unique in the deployment")
    options.add_argument("--step", default="build", help="unique in the stage")
    options.add_argument("--output", required=True, help="the file that takes the output")
    options.add_argument("--keep", action="store_true", help="do not release the stage")
    options.add_argument("command", nargs="+")
    args = options.parse_args()

    with grpc.insecure_channel(args.runner) as channel:
        runner = services.BuildsStub(channel)
        insist(lambda: acquire(runner, args.stage, args.pool))
        result = insist(lambda: run(runner, args.stage, args.step, args.command, args.output))
        if not args.keep:
            insist(lambda: runner.Release(builds.ReleaseRequest(stage_id=args.stage), timeout=60))
    status = builds.StepStatus.Name(result.status).removeprefix("STEP_STATUS_")
    say("ended:", status, result.exit_code, result.reason, result.output_missing)
    exited = result.status == builds.STEP_STATUS_EXITED
    return result.exit_code if exited else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except grpc.RpcError as error:
        reason, _ = details(error)
        sys.exit(f"{reason or error.code().name}: {error.details()}")
