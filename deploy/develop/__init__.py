"""Tools for developers: the environment, the checks, the lock files, `.env`, a city database, the local stack."""
