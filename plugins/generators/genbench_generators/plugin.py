from genbench import ComponentSpec, hookimpl
@hookimpl
def genbench_generators(): return [ComponentSpec(name="none",target="genbench.protocols:Generator",config="genbench.protocols:GeneratorConfig",summary="x")]
