"""The pages of the manual: found by their topics, and given to who reads them."""
