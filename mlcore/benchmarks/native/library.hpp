// A shared library that is opened while the program runs.
#pragma once

#include <stdexcept>
#include <string>

#include <dlfcn.h>

class Library {
 public:
  // `shared`: whether libraries that are opened later find its symbols.
  explicit Library(const std::string& path, bool shared = false)
      : handle_(dlopen(path.c_str(), RTLD_NOW | (shared ? RTLD_GLOBAL : RTLD_LOCAL))) {
    if (handle_ == nullptr) throw std::runtime_error(dlerror());
  }
  void* find(const char* name) const { return dlsym(handle_, name); }  // null where there is none
  template <class Function>
  Function* symbol(const char* name) const {
    void* found = find(name);
    if (found == nullptr) throw std::runtime_error(std::string("the library has no ") + name);
    return reinterpret_cast<Function*>(found);
  }

 private:
  void* handle_;
};
