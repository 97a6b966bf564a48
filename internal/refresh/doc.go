package refresh
