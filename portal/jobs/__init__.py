"""Jobs: what people ask the machine to do, from the form to the artefacts."""
