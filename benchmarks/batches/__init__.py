"""The loader of batches and its peers: data, contenders, what they deliver, comparisons."""
