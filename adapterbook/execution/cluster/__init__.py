"""Execute runs on a Dask cluster, which is optional."""
