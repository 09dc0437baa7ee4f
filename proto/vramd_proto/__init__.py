"""What crosses the borders between the parts of vramd: the wire contract and the rendezvous of processes."""
