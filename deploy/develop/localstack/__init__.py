"""The local stack: the real servers and services of Push as plain processes on loopback, without containers."""

from deploy.develop.localstack.stack import LocalStack

__all__ = ["LocalStack"]
