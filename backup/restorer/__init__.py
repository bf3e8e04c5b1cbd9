"""What bringing a point back onto a disk is made of.

restore       hands the manifest out in stretches; a `lane` takes one, `lanes` run side by side,
              each in its `own_process` where that is safe, which `talking` gives its work
left_over     what stretches leave for the end
pieces        large files, which all lanes fill at once, each in its `turn`
target        writes paths into a folder and never outside; its `open_path`, `folders`, `extents`,
              `straight`, and their `attributes`
journal       what makes a folder this restore's, until it is whole; `proof` of what is there
afterwards    the process that ends a restore whose caller does not wait for the disk
"""
