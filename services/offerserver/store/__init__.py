"""The Redis of the importers: leases, turns of hosts, and what is known of runs.

storage has the offers. When Redis is emptied, an absent item stays for one more run, a feed is fetched without a
condition once, and the history begins again.
"""
