# How everything is compiled, and the three ways to declare a part: a library, a plugin, a test program.

# ccache takes sources with a precompiled header only when told that time stamps and macros in it may be ignored; gcc must
# then keep the header's directives in what it preprocesses. Paths below the tree count as relative, so that a second clone
# of the project is served from what the first one compiled.
find_program(CCACHE ccache)
if(CCACHE)
  set(launcher ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
    CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
endif()
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

add_library(millrace_flags INTERFACE)
# -pthread everywhere: a precompiled header serves only who is compiled with the same macros.
target_compile_options(millrace_flags INTERFACE -pthread -Wall -Wextra -Wshadow -Wformat=2 -Wvla -Wno-missing-field-initializers
  -fno-omit-frame-pointer -fstack-protector-strong $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes>)
# A warning is an error with the compiler that everybody here builds with. Newer ones invent new warnings, which must not
# keep a user from building.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(millrace_flags INTERFACE -Werror $<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)
elseif(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(millrace_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)
endif()
# Fortified calls would hide from the sanitizers what they look for; and under them gcc 12 takes parts of std::function and
# std::regex for uninitialized.
if(CMAKE_CXX_FLAGS MATCHES "-fsanitize")
  target_compile_options(millrace_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
else()
  target_compile_options(millrace_flags INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
# gcc 12 sees overlaps and overruns in `std::string + "literal"` that are not there (its bugs 105651 and 105329), and which it
# sees depends on the lengths of literals, hence on the path of the tree. The sanitizers look for the true ones.
target_compile_options(millrace_flags INTERFACE
  "$<$<CXX_COMPILER_ID:GNU>:-Wno-array-bounds;-Wno-restrict;-Wno-stringop-overflow;-Wno-stringop-overread>")
add_link_options(-Wl,-z,relro,-z,now)
target_include_directories(millrace_flags INTERFACE ${CMAKE_SOURCE_DIR})

# millrace_precompiled_header(NAME HEADER libraries…): compiled once, for all that are compiled with the same options and say
# REUSE_FROM NAME.
function(millrace_precompiled_header name header)
  file(CONFIGURE OUTPUT ${name}.cc CONTENT "")
  add_library(${name} OBJECT ${CMAKE_CURRENT_BINARY_DIR}/${name}.cc)
  target_link_libraries(${name} PRIVATE millrace_flags ${ARGN})
  target_precompile_headers(${name} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/${header})
endfunction()
millrace_precompiled_header(precompiled precompiled.h fmt::fmt)

# millrace_library(NAME libraries…): a static library of all sources in this folder.
function(millrace_library name)
  file(GLOB sources CONFIGURE_DEPENDS *.cc *.c)
  if(NOT sources)
    message(WARNING "${name} has no source yet; it is left out")
    return()
  endif()
  add_library(${name} STATIC ${sources})
  target_link_libraries(${name} PRIVATE millrace_flags PUBLIC ${ARGN})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_precompile_headers(${name} REUSE_FROM precompiled)
endfunction()

# millrace_plugin(NAME libraries…): steps/NAME.so in the build folder; exports mr_plugin_v1 and nothing else.
function(millrace_plugin name)
  file(GLOB sources CONFIGURE_DEPENDS *.cc *.c)
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  if(NOT sources)
    message(WARNING "the plugin ${name} has no source yet; it is left out")
    return()
  endif()
  add_library(step_${name} MODULE ${sources})
  set_target_properties(step_${name} PROPERTIES OUTPUT_NAME ${name} PREFIX "" C_VISIBILITY_PRESET hidden
    CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/steps)
  target_link_libraries(step_${name} PRIVATE millrace_flags ${ARGN})
  if(sources MATCHES "[.]cc")
    target_precompile_headers(step_${name} REUSE_FROM precompiled)
  endif()
  target_link_options(step_${name} PRIVATE -Wl,--exclude-libs,ALL -Wl,--no-undefined)
  set_property(GLOBAL APPEND PROPERTY MILLRACE_PLUGINS step_${name})
endfunction()

# millrace_tree: where this tree and its build are, for what is not installed. The one source that holds these paths: all others
# compile to the same bytes wherever the tree is, so that ccache knows them.
add_library(millrace_tree STATIC ${CMAKE_SOURCE_DIR}/cmake/tree.cc)
target_link_libraries(millrace_tree PRIVATE millrace_flags)
target_compile_definitions(millrace_tree PRIVATE SOURCE_TREE="${CMAKE_SOURCE_DIR}" BUILD_TREE="${CMAKE_BINARY_DIR}")

# millrace_test_program(NAME libraries…): one GoogleTest program of all *_test.cc in this folder.
function(millrace_test_program name)
  file(GLOB sources CONFIGURE_DEPENDS *.cc *.c)
  add_executable(${name} ${sources})
  target_link_libraries(${name} PRIVATE millrace_flags millrace_tree ${ARGN} GTest::gtest GTest::gtest_main)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_precompile_headers(${name} REUSE_FROM precompiled_test)
endfunction()

# How long tests may take here, as a multiple: sanitizers make them three to ten times slower.
set(millrace_slowness 1)
if(CMAKE_CXX_FLAGS MATCHES "-fsanitize")
  set(millrace_slowness 6)
endif()
# millrace_timeout(SECONDS TEST…): beyond so many seconds a test of ctest counts as hanging.
function(millrace_timeout seconds)
  math(EXPR seconds "${seconds} * ${millrace_slowness}")
  set_tests_properties(${ARGN} PROPERTIES TIMEOUT ${seconds})
endfunction()

# millrace_tests_together(NAME libraries…): the same, and ctest runs the program once with all its tests, since they share
# something that takes long to start.
function(millrace_tests_together name)
  millrace_test_program(${name} ${ARGN})
  add_test(NAME ${name} COMMAND ${name} --gtest_filter=-*Long.*)
  millrace_timeout(1800 ${name})
endfunction()

# millrace_tests(NAME libraries…): a test program of which each test is known to ctest.
# Suites whose name ends in "Long" carry the label `long`: only `./run test --long` runs them. The tests are listed when
# ctest starts and not after each link, so that building runs nothing.
include(GoogleTest)
function(millrace_tests name)
  millrace_test_program(${name} ${ARGN})
  math(EXPR seconds "300 * ${millrace_slowness}")
  set(prefix TEST_PREFIX ${name}. DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 300)
  gtest_discover_tests(${name} ${prefix} TEST_FILTER "-*Long.*" NO_PRETTY_VALUES PROPERTIES TIMEOUT ${seconds})
  gtest_discover_tests(${name} ${prefix} TEST_FILTER "*Long.*" NO_PRETTY_VALUES TEST_LIST ${name}_LONG
                       PROPERTIES TIMEOUT 3600 LABELS long)
endfunction()

# millrace_programs(): the targets `plugins` (every steps/*.so) and `product` (millrace and its plugins). Called last.
function(millrace_programs)
  get_property(plugins GLOBAL PROPERTY MILLRACE_PLUGINS)
  add_custom_target(plugins DEPENDS ${plugins})
  add_custom_target(product DEPENDS plugins)
  if(TARGET millrace)
    add_dependencies(product millrace)
  endif()
endfunction()
