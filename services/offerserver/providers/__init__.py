"""What fetches feeds from their sources: one request a host at a time, with time limits, retries and robots.txt."""
