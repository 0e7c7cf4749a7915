"""Pictures of images: contact sheets of heat maps, of concepts, of what explainers disagree on."""
