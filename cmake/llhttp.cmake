# llhttp::llhttp, the HTTP/1.1 parser, in strict mode.
#
# Debian 13 has libllhttp-dev (version 9, strict unless told otherwise). Debian 12 has only node-llhttp, which
# ships the C sources of 8.1: `./run` unpacks them into .cache/llhttp, shared by all presets, and they become a
# static library here.
pkg_check_modules(LLHTTP QUIET IMPORTED_TARGET libllhttp)
if(LLHTTP_FOUND)
  add_library(llhttp::llhttp ALIAS PkgConfig::LLHTTP)
  return()
endif()

set(llhttp_directory ${CMAKE_CURRENT_SOURCE_DIR}/.cache/llhttp)
foreach(file api.c http.c llhttp.c llhttp.h)
  if(NOT EXISTS ${llhttp_directory}/${file})
    message(FATAL_ERROR "llhttp: neither libllhttp-dev nor ${llhttp_directory}/${file} is here; "
                        "run ./run build, which fetches the sources from Debian's package node-llhttp")
  endif()
endforeach()
add_library(llhttp STATIC ${llhttp_directory}/api.c ${llhttp_directory}/http.c ${llhttp_directory}/llhttp.c)
# Public: the header declares more or less depending on it, so both sides must agree.
target_compile_definitions(llhttp PUBLIC LLHTTP_STRICT_MODE=1)
target_compile_options(llhttp PRIVATE -O2)
target_include_directories(llhttp SYSTEM PUBLIC ${llhttp_directory})
add_library(llhttp::llhttp ALIAS llhttp)
