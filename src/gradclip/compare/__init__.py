"""Compare stored runs over seeds: groups, statistics, tables, figures. Reads the store; trains nothing."""
