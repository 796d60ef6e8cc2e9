"""Execute the runs that are due with Papermill, here or on a Dask cluster. Imports training and the rooms below it."""
