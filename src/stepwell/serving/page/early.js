// Before anything is drawn: the look and the language that were chosen last time.
(() => {
  const page = document.documentElement;
  let theme = null;
  let language = null;
  try {
    theme = localStorage.getItem("stepwell.theme");
    language = localStorage.getItem("stepwell.language");
  } catch {
    // storage may be forbidden: then nothing is remembered
  }
  if (theme === "light" || theme === "dark") page.dataset.theme = theme;
  const first = (navigator.languages && navigator.languages[0]) || navigator.language || "en";
  if (language !== "en" && language !== "zh") language = first.toLowerCase().startsWith("zh") ? "zh" : "en";
  page.dataset.language = language;
  page.lang = language === "zh" ? "zh-Hans" : "en";
})();
