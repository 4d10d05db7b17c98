"""The local stack: the servers and services of Push as processes on loopback, without containers."""

from deploy.develop.localstack.stack import LocalStack

__all__ = ["LocalStack"]
